// SPDX-License-Identifier: Apache-2.0

package following

// Report describes the event stream of one publisher, as the admin API shows it.
type Report struct {
	Rank           int      `json:"rank"`
	Connected      bool     `json:"connected"`
	Known          string   `json:"known"` // unknown, partial or complete
	LagSeconds     *float64 `json:"lag_seconds,omitempty"`
	Batches        uint64   `json:"batches"`
	Events         uint64   `json:"events"`
	Malformed      uint64   `json:"malformed,omitempty"`
	Gaps           uint64   `json:"gaps"`
	Losses         uint64   `json:"losses"` // gaps that could not be closed
	Replays        uint64   `json:"replays"`
	Restarts       uint64   `json:"restarts"`
	Blocks         uint64   `json:"blocks"` // entered so far, copies counted
	UnknownParents uint64   `json:"unknown_parents"`
	Contradicted   uint64   `json:"contradicted,omitempty"` // blocks dropped because answers did not have them
	BlockTokens    int      `json:"block_tokens,omitempty"`
	Failure        string   `json:"failure,omitempty"`
}

// Reports describes the event streams of an upstream, one for each rank; nil
// when it is not followed.
func (s *Subscriptions) Reports(address string) (reports []Report) {
	for _, state := range s.client.States(address) {
		r := Report{
			Rank: state.Publisher.Rank, Connected: state.Connected, Known: state.Knowledge.String(),
			Batches: state.Batches, Events: state.Events, Malformed: state.Malformed,
			Gaps: state.Gaps, Losses: state.Losses, Replays: state.Replays, Restarts: state.Restarts,
		}
		if !state.Last.IsZero() {
			lag := state.Lag.Seconds()
			r.LagSeconds = &lag
		}
		if state.Failure != nil {
			r.Failure = state.Failure.Error() // a fixed text
		}
		if feed := s.feed(state.Publisher); feed != nil {
			stats := feed.Stats()
			r.Known = min(state.Knowledge, feed.Knowledge()).String()
			r.Blocks, r.UnknownParents, r.Contradicted = stats.Blocks, stats.UnknownParents, stats.Contradicted
			r.BlockTokens = feed.BlockTokens()
		}
		reports = append(reports, r)
	}
	return reports
}
