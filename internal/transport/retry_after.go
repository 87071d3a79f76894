// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"net/http"
	"strconv"
	"time"
)

// retryAfter returns the time that a Retry-After header asks to wait, 0 without one
// that can be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
