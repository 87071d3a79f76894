// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// MinKeepAlive is the smallest keepalive. Proxies wait for much longer, and each
// comment costs a write.
const MinKeepAlive = time.Second

var errKeepAlive = fmt.Errorf("keepalive takes a duration of %v or more", MinKeepAlive)

// checkKeepAlive takes 0 for no comments.
func checkKeepAlive(d caddy.Duration) error {
	if d != 0 && d < caddy.Duration(MinKeepAlive) {
		return errKeepAlive
	}
	return nil
}
