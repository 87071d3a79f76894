// SPDX-License-Identifier: Apache-2.0

package radixcache

// runsPerStep is the number of runs that an insertion makes room for at a time.
const runsPerStep = 64

// maxRestarts bounds how often an insertion restarts at the root, because others
// changed its last record. After that it ends where it is.
const maxRestarts = 100

// insertion is one Insert under way.
type insertion struct {
	t             *Tree
	u             *upstream
	chain         []uint64
	weight        uint32
	held          int    // blocks that u was known to hold, -1 until that is clear
	done          int    // blocks that are recorded
	run           uint32 // the one that ends at done, 0 at the root
	start         int    // where it starts in the chain
	claim         uint32 // u's claim on that run
	oneRunAtATime bool   // there is no room for more
	restarts      int

	// For Stored: the chain starts at depth base, with a run, under run and
	// claim. Its blocks before from are only there to find the place.
	event       *StoredBlocks
	base, from  int
	interrupted bool // the tree has changed: Stored must start another insertion
}

// Insert records that up holds the whole chain, from the root; weight is the
// number of tokens in a block. It returns how many blocks of it up was already
// known to hold, and makes up's claims on all of it the youngest.
//
// When the chain is longer than fits under the limit, its head is recorded.
func (t *Tree) Insert(up Upstream, chain []uint64, weight uint32) (held int) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil || len(chain) == 0 {
		return 0
	}
	in := insertion{t: t, u: u, chain: chain, weight: weight, held: -1}
	t.startOperation()
	if !t.finishPending(u) {
		return 0
	}
	t.newStamp()
	for in.done < len(chain) && in.step() {
		if (in.done < len(chain) && t.overBudget() || u.hasPending()) && !in.yieldAndResume() {
			break
		}
	}
	t.updateHeapKey(u)
	if in.held < 0 {
		in.held = in.done
	}
	return in.held
}

// yieldAndResume lets others have the lock and finds the place again.
func (in *insertion) yieldAndResume() bool {
	if in.t.overBudget() {
		in.t.updateHeapKey(in.u)
		in.t.yield()
	}
	return in.resume()
}

// resume finds the place again after the tree may have changed. Without the last
// run it starts at the root. What is known of held stays.
func (in *insertion) resume() bool {
	if in.event != nil {
		in.interrupted = true
		return false
	}
	if !in.t.finishPending(in.u) {
		return false
	}
	if in.run == 0 || in.relocate() {
		return true
	}
	in.run, in.claim, in.start, in.done = 0, 0, 0, 0
	in.restarts++
	in.t.newStamp()
	return in.restarts < maxRestarts
}

// relocate tells whether the last run is still there and as it was; then so is all
// before it. Its reference, and the claim's, may be new.
func (in *insertion) relocate() bool {
	ref := in.t.findRun(in.chain[in.start], in.start)
	if ref == 0 {
		return false
	}
	r := in.t.run(ref)
	_, h := in.t.findHolder(r, in.u.slot)
	if r.end() != in.done || r.last.Load() != in.chain[in.done-1] || h.effective() != r.blocks() {
		return false
	}
	in.run, in.claim = ref, h.claim()
	return true
}

// step records the blocks of one more run.
func (in *insertion) step() bool {
	t, rest := in.t, in.chain[in.done:]
	t.addWork(2)
	if t.index.buckets() == 0 {
		return t.startTable(&t.index) && in.resume()
	}
	ref := t.findRun(rest[0], in.depth())
	if ref != 0 {
		return in.followRun(ref, rest)
	}
	if in.done < in.from {
		return false
	}
	if in.run != 0 {
		if r := t.run(in.run); r.numChildren() == 0 && r.end()%MaxRun != 0 {
			return in.extendLeaf(r, rest)
		}
	}
	return in.addRun(rest)
}

// depth is where in the tree the next block is.
func (in *insertion) depth() int { return in.base + in.done }

// addBlocks adds n blocks of the run, from first on, to u's claim. The block first
// of the run is block done+first of the chain.
func (in *insertion) addBlocks(first, n int) {
	t := in.t
	present := t.claim(in.claim).present.Load()
	if set := (uint64(1)<<n - 1) << first; present|set != present {
		t.setPresent(in.claim, present|set)
	}
	if in.event == nil {
		return
	}
	for i := range n {
		t.addCopy(in.claim, first+i, first+n, in.event.Keys[in.done+first+i-in.from], in.event)
	}
}

// followRun records the blocks that an existing run shares with the chain. It
// splits the run when the chain leaves it.
func (in *insertion) followRun(ref uint32, rest []uint64) bool {
	t := in.t
	r := t.run(ref)
	if r.parent() != in.run {
		return false // a chain element that does not commit to those before it
	}
	n := t.matchLength(r, rest)
	i, h := t.findHolder(r, in.u.slot)
	known := min(n, max(0, in.from-in.done)) // blocks that are only there to find the place
	if i < 0 && known > 0 {
		return false
	}
	divides := n < r.blocks() && n < len(rest)
	if divides || i < 0 || in.event != nil {
		if done, still := in.reserve(r, n, divides); !done || !still {
			return done && in.resume()
		}
	}
	if divides {
		ref = t.split(ref, n)
		r = t.run(ref)
		i, h = t.findHolder(r, in.u.slot)
	}
	had := h.effective()
	if i < 0 {
		in.claim = in.newClaim(ref)
	} else {
		t.touch(in.u, h.claim(), in.claim)
		in.claim = h.claim()
		t.setWeight(t.claim(in.claim), in.weight)
	}
	if had < n {
		in.noteHeld(in.done + had)
	}
	if had < n || in.event != nil {
		in.addBlocks(known, n-known)
	}
	in.run, in.start, in.done = ref, in.done, in.done+n
	return true
}

// noteHeld sets held, the first time it is called.
func (in *insertion) noteHeld(n int) {
	if in.held < 0 {
		in.held = n
	}
}

// newClaim makes a claim of u under the current one.
func (in *insertion) newClaim(run uint32) uint32 {
	t := in.t
	ref := t.newClaim(in.u, run, in.claim, in.weight)
	t.linkAgeBefore(in.u, ref, in.claim)
	t.pushHeap(in.u)
	return ref
}

// extendLeaf makes the leaf r longer.
func (in *insertion) extendLeaf(r *run, rest []uint64) bool {
	t := in.t
	n := min(len(rest), maxBlocksAt(in.depth()))
	var need [kinds]int
	if k := r.blocks() + n; k >= minHashList && k > r.hashListLines()*lineWords {
		need[hashListKind(k)]++
	}
	if in.event != nil {
		needRecord(&need, n, r.blocks()+n)
	}
	if done, still := t.reserve(&need); !done || !still {
		return done && in.resume()
	}
	t.addWork(2 + n/lineWords)
	in.noteHeld(in.done)
	was, h := r.blocks(), r.head.Load()
	t.beginWrite(h)
	t.appendBlocks(r, was, rest[:n])
	t.endWrite(h)
	t.blocks += n
	in.done -= was // addBlocks counts from the start of the run
	in.addBlocks(was, n)
	in.done += was + n
	return true
}

// addRun makes a new run.
func (in *insertion) addRun(rest []uint64) bool {
	t := in.t
	n := min(len(rest), maxBlocksAt(in.depth()))
	// Reserve for the rest of the chain, so that a full tree evicts once and not for
	// each run.
	var need [kinds]int
	runs := min((len(rest)-n+MaxRun-1)/MaxRun, runsPerStep) + 1
	if in.oneRunAtATime {
		runs = 1
	}
	need[kindRun], need[kindClaim], need[kindBucket], need[kindChunk] = runs, runs, runs/2+4, 1
	if runs > 1 {
		need[hashListKind(MaxRun)] = runs
	}
	if n >= minHashList {
		need[hashListKind(n)]++
	}
	if in.event != nil {
		needRecord(&need, runs*MaxRun, n)
	}
	if done, still := t.reserve(&need); !done && runs > 1 {
		in.oneRunAtATime = true
		return in.resume()
	} else if !done || !still {
		return done && in.resume()
	}
	t.addWork(4 + n/lineWords)
	in.noteHeld(in.done)
	in.run, in.start = t.newRun(in.run, in.depth(), rest[:n]), in.done
	in.claim = in.newClaim(in.run)
	in.addBlocks(0, n)
	in.done += n
	return true
}

// reserve makes room for a new claim on r and, when the chain leaves r after n
// blocks, for the split.
func (in *insertion) reserve(r *run, n int, divides bool) (done, still bool) {
	var need [kinds]int
	h := r.numHolders()
	need[kindClaim] = 1
	if divides {
		need[kindClaim] += h
		need[kindRun], need[kindBucket], need[kindChunk] = 1, 4, 1
		for _, k := range []int{n, r.blocks() - n} {
			if k >= minHashList {
				need[hashListKind(k)]++
			}
		}
		needHolders(&need, h)
		if in.t.byKey.entries > 0 {
			needRecord(&need, 0, n)
			need[recordKind(n)] += h
		}
	}
	if in.event != nil {
		needRecord(&need, n, n)
	}
	if c := r.class(); c == classTable {
		need[kindHolderList64]++
	} else if h == classCapacity[c] {
		needHolders(&need, h+1)
	}
	return in.t.reserve(&need)
}

// needHolders adds the memory for a list of n holders.
func needHolders(need *[kinds]int, n int) {
	switch {
	case n > listSize:
		need[kindListTable]++
		need[kindHolderList64] += (n + listSize - 1) / listSize
	case n > maxInlineHolders:
		need[holderListKind(n)]++
	}
}
