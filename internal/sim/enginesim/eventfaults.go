// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"errors"
)

// Faults of the stream of KV events. Skip and Count count what each says; Path
// means nothing to them. ForgetEvents and DisconnectEvents act at once.
const (
	// DropEvents sends batches to nobody, like a subscriber's full queue does:
	// their numbers are used up, and a replay has them. With a Count it is a
	// gap; without, a stream that has fallen silent.
	DropEvents FaultKind = iota + firstEventFault
	// LoseEvents is DropEvents of which a replay knows nothing either.
	LoseEvents
	// GarbleEvents makes a batch's payload something no decoder takes, live and
	// in replays.
	GarbleEvents
	// SlowEvents waits Fault.Delay before each message to a peer.
	SlowEvents
	// HangEvents neither sends nor reads anything on connections that stay
	// open, heartbeats included, like a host that has lost its network. No
	// Skip, no Count.
	HangEvents
	// TruncateReplay ends replays without an end marker after Fault.Chunks
	// batches, like a ROUTER's full queue does. Counts replays.
	TruncateReplay
	// ForgetEvents empties the replay buffer: a replay from before now begins
	// too late.
	ForgetEvents
	// DisconnectEvents ends the connections of both sockets.
	DisconnectEvents

	endOfEventFaults
)

// firstEventFault leaves room between the faults of requests and these.
const firstEventFault = 100

// ofEvents reports whether a fault is one of the stream of events.
func (k FaultKind) isEventFault() bool { return k >= firstEventFault && k < endOfEventFaults }

var errNoEvents = errors.New("enginesim: this node publishes no events")

// eventFault puts a fault of the event stream into force.
func (e *Engine) eventFault(f Fault) error {
	if e.cfg.Events == nil {
		return errNoEvents
	}
	for _, r := range e.ranks {
		switch f.Kind {
		case ForgetEvents:
			r.publisher.forget()
		case DisconnectEvents:
			r.publisher.drop()
		}
	}
	if f.Kind != ForgetEvents && f.Kind != DisconnectEvents {
		e.faults.add(f)
	}
	return nil
}

// take counts one occasion for a kind of fault and returns the fault that hits
// it, if one does.
func (l *faultList) take(kind FaultKind) (Fault, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.list {
		switch {
		case f.Kind != kind:
		case f.Skip > 0:
			f.Skip--
		default:
			hit := *f
			if f.Count == 1 {
				l.list = append(l.list[:i:i], l.list[i+1:]...)
			} else if f.Count > 0 {
				f.Count--
			}
			return hit, true
		}
	}
	return Fault{}, false
}

// pause waits while a fault of a kind is in force; false when ctx is over.
func (l *faultList) pause(ctx context.Context, kind FaultKind) bool {
	for {
		l.mu.Lock()
		healed, hit := l.changed, false
		for _, f := range l.list {
			hit = hit || f.Kind == kind
		}
		l.mu.Unlock()
		if !hit {
			return ctx.Err() == nil
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return false
		}
	}
}
