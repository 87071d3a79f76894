// SPDX-License-Identifier: Apache-2.0

package outlier

// Kind is the way in which an attempt failed.
type Kind uint8

const (
	Dial    Kind = iota // no connection
	Reset               // the connection ended before the answer's header
	Timeout             // the answer's header was overdue
	Status              // an error status that is the upstream's own
	Limited             // 429 or 503: the upstream is busy
	Cut                 // the answer broke off
	Stalled             // the client left while the answer was overdue
	kinds
)

var kindNames = [kinds]string{"dial", "reset", "timeout", "status", "limited", "cut", "stalled"}

// String returns the kind's name, as metrics and logs show it.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}

// weight returns the number of failures in a row that one failure of the kind
// counts for. A hang costs its client most, and is seen only when a client has
// given up: two are enough.
func (k Kind) weight() int {
	if k == Stalled || k == Timeout {
		return 2
	}
	return 1
}

// StatusKind classifies the status of an answer. failed is false for an answer
// that is no failure of the upstream: a success, or an error that may be the
// client's.
func StatusKind(status int) (k Kind, failed bool) {
	switch {
	case status == 429 || status == 503:
		return Limited, true
	case status >= 500:
		return Status, true
	}
	return 0, false
}
