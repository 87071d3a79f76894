// SPDX-License-Identifier: Apache-2.0

// Package library writes by way of others. want: (*net/http.Request).ParseMultipartForm runtime/debug.WriteHeapDump os.CopyFS net.ListenUnix (reflect.Value).Call
package library

import (
	"embed"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
)

var files embed.FS

// Serve takes a form.
func Serve(r *http.Request) {
	_ = r.ParseMultipartForm(1)
	debug.WriteHeapDump(1)
	_ = os.CopyFS("x", files)
	_, _ = net.ListenUnix("unix", nil)
	reflect.ValueOf(Serve).Call(nil)
}
