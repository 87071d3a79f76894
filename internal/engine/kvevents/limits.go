// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

const (
	// maxFollowed is how many publishers are followed at most; further ones
	// are not, and their sinks never opened.
	maxSubscriptions = 4096
	// idleAfter is how long a publisher that is not seen is still followed.
	idleAfter = time.Minute

	// A publisher that cannot be reached, or ends its connections, is tried
	// again after reconnectFirst, then half as often each time, down to every
	// reconnectMost; anew when a connection has lasted for lasting.
	reconnectFirst   = 100 * time.Millisecond
	reconnectLongest = 5 * time.Second
	lastingConn      = 10 * time.Second

	// maxReplays is how many publishers are asked for history at the same
	// time. Their publishing waits while they answer, and what they answer is
	// held in memory.
	maxReplays = 8
	// replayTime is how long it may take to get a history, all attempts
	// included, but not the wait for a turn: who drips holds up others for no
	// longer, and these do not lose theirs over it.
	replayTime = 2 * time.Minute
	// replaySilence is after how long without a message an answer is over, or
	// cut: libzmq drops what a slow reader leaves, the end marker too.
	replaySilence = 2 * time.Second
	// giveWayEvery is how often a question whether anything was lost looks
	// whether it is in the way of what comes live.
	yieldCheckInterval = 20 * time.Millisecond
	// replayAttempts is how many attempts in a row may bring nothing new.
	replayAttempts = 3
	// restartGap is the least time between two restarts over one connection
	// that have all of history read again: where each batch comes twice, every
	// other one looks like a restart.
	restartGap = 10 * time.Second
	// A history that could not be read is not asked for again within
	// coolFirst, then half as often each time, down to every coolMost.
	historyPauseFirst   = 30 * time.Second
	historyPauseLongest = 5 * time.Minute

	// A live stream that is silent may have lost its last batches, which no
	// gap shows. The publisher is asked soon after the start, when batches may
	// have fallen between history and subscription, then after silenceFirst,
	// then half as often each time, down to every silenceMost.
	silenceAtStart = 2 * time.Second
	silenceFirst   = 30 * time.Second
	silenceLongest = 5 * time.Minute

	// settleFor is how long after a replay a first live batch may be one that
	// the replay had; later, such a number means that counting began anew.
	replayOverlap = 5 * time.Second
)

const (
	// maxMessage is the largest message that is received, in bytes: a store of
	// a million tokens is half as large.
	maxMessage = 16 << 20
	// messageBudget is what large messages under way may take, in bytes, over
	// all publishers of a Set.
	messageBudget = 256 << 20
	// maxHistory is how much of a history is held before it is applied, in
	// bytes for each of maxReplays, and maxHistoryBatches in batches.
	maxHistory        = 32 << 20
	maxHistoryBatches = 16384
)
