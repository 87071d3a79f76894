// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

const (
	// maxSubscriptions bounds the publishers that are followed. Follow ignores
	// further ones; their sinks are never opened.
	maxSubscriptions = 4096
	// idleAfter bounds a subscription that Follow does not name again.
	idleAfter = time.Minute

	// The first and the longest pause between connections in a row that fail or
	// end (see package backoff). One that lasts for lastingConn starts anew.
	reconnectFirst   = 100 * time.Millisecond
	reconnectLongest = 5 * time.Second
	lastingConn      = 10 * time.Second

	// maxReplays bounds the replays at the same time. Publishers do not publish
	// while they answer one, and answers are held in memory.
	maxReplays = 8
	// replayTime bounds a replay with all its attempts, but without the wait for
	// a turn: a slow publisher delays the others by no more.
	replayTime = 2 * time.Minute
	// replaySilence ends an answer: libzmq drops the messages that a slow reader
	// leaves, the end mark too.
	replaySilence = 2 * time.Second
	// yieldCheckInterval lies between two looks of a probe for live batches to
	// yield to.
	yieldCheckInterval = 20 * time.Millisecond
	// replayAttempts bounds the attempts in a row that bring nothing new.
	replayAttempts = 3
	// restartGap lies at least between two restarts on one connection that read
	// all of history. If each batch comes twice, every second one looks like a
	// restart.
	restartGap = 10 * time.Second
	// The first and the longest pause after failures in a row to read history.
	historyPauseFirst   = 30 * time.Second
	historyPauseLongest = 5 * time.Minute

	// A live stream that is silent may have lost its last batches, which no gap
	// shows. The publisher is asked silenceAtStart after the start, when batches
	// may have fallen between history and subscription, then after silenceFirst,
	// then after pauses that double up to silenceLongest.
	silenceAtStart = 2 * time.Second
	silenceFirst   = 30 * time.Second
	silenceLongest = 5 * time.Minute

	// replayOverlap follows a replay: a first live batch may be one of the replay.
	// Later such a number means a restart.
	replayOverlap = 5 * time.Second
)

const (
	// maxMessage bounds a message, in bytes. A store of a million tokens takes
	// half of it.
	maxMessage = 16 << 20
	// messageBudget bounds the large messages under way of all publishers of a
	// Subscriber, in bytes.
	messageBudget = 256 << 20
	// maxHistory and maxHistoryBatches bound the history that one of maxReplays
	// holds before it is applied, in bytes and batches.
	maxHistory        = 32 << 20
	maxHistoryBatches = 16384
)
