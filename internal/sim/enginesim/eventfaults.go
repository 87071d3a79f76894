// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"errors"
)

// Faults of the stream of KV events. Skip and Count refer to batches, unless the
// fault says otherwise; Path has no effect. ForgetEvents and DisconnectEvents act
// at once.
const (
	// DropEvents sends batches to no subscriber, like a full queue: their numbers
	// are used, and a replay has them. With a Count it makes a gap, without one
	// a silent stream.
	DropEvents FaultKind = iota + firstEventFault
	// LoseEvents drops batches from replays as well.
	LoseEvents
	// GarbleEvents makes a batch's payload undecodable, live and in replays.
	GarbleEvents
	// SlowEvents waits Fault.Delay before each message to a peer.
	SlowEvents
	// HangEvents neither sends nor reads on open connections, heartbeats
	// included, like a host without network. It has no Skip and no Count.
	HangEvents
	// TruncateReplay ends replays after Fault.Chunks batches without an end
	// marker, like a full queue of a ROUTER. Skip and Count refer to replays.
	TruncateReplay
	// ForgetEvents empties the replay buffer, so that replays lack earlier
	// batches.
	ForgetEvents
	// DisconnectEvents ends the connections of both sockets.
	DisconnectEvents

	endOfEventFaults
)

// firstEventFault leaves room for further faults of requests.
const firstEventFault = 100

// isEventFault reports whether this is a fault of the event stream.
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

// take counts one occasion for a kind of fault and returns the fault that applies
// to it, if any.
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

// pause waits while a fault of a kind is in force. It returns false if ctx ends.
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
