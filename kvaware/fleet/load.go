// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

// loadLasts is how long a load that an engine has told counts: a few scrapes.
const loadLasts = 15 * time.Second

// EngineLoad is what an engine tells of itself. It covers requests that came by other
// ways than this gateway.
type EngineLoad struct {
	Waiting int // requests it has not begun with
	Running int // requests it is prefilling or decoding
}

type reportedLoad struct {
	EngineLoad
	at time.Time
}

// SetLoad notes the load that an upstream reports at this moment.
func (f *Fleet) SetLoad(address string, l EngineLoad) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.upstream(address).told = reportedLoad{EngineLoad{max(0, l.Waiting), max(0, l.Running)}, f.now()}
}

// foreign returns how many requests wait at the upstream that this gateway has
// not sent, and how many it has in all as far as it has told.
func (u *upstream) foreign(now time.Time) (waiting, inFlight int) {
	if u.told.at.IsZero() || now.Sub(u.told.at) > loadLasts {
		return 0, 0
	}
	return max(0, u.told.Waiting-u.load.queued), u.told.Waiting + u.told.Running
}
