// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"cmp"
	"path/filepath"
)

// CacheFolder returns the folder of this project in the user's cache.
func CacheFolder() string {
	return filepath.Join(cmp.Or(userCache, filepath.Join(userHome, ".cache")), "caddy-kvaware")
}
