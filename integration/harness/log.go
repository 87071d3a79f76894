// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"io"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(memoryWriter{}) }

// memoryWriter is a Caddy log output that appends to Log.
type memoryWriter struct{}

func (memoryWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.test_memory",
		New: func() caddy.Module { return new(memoryWriter) },
	}
}

func (memoryWriter) String() string                      { return "memory" }
func (memoryWriter) WriterKey() string                   { return "memory" }
func (memoryWriter) OpenWriter() (io.WriteCloser, error) { return &Log, nil }

// Log holds everything that gateways have logged since the last Reset.
var Log LogLines

// LogLines is a log in memory, one JSON object a line.
type LogLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *LogLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Close does nothing: configs come and go, the log stays.
func (l *LogLines) Close() error { return nil }

// Reset empties the log.
func (l *LogLines) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

func (l *LogLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Interface guards
var _ caddy.WriterOpener = memoryWriter{}
