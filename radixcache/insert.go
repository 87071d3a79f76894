// SPDX-License-Identifier: Apache-2.0

package radixcache

// stepRuns is for how many runs an insertion makes room at a time.
const runsPerStep = 64

// maxRestarts is how often an insertion goes back to the root because others
// change what it has just done. Then what is done is enough.
const maxRestarts = 100

// insertion is one Insert under way.
type insertion struct {
	t             *Tree
	u             *upstream
	chain         []uint64
	weight        uint32
	held          int
	done          int    // blocks that are in the tree
	run           uint32 // the one that ends at done, 0 at the root
	start         int    // where it starts in the chain
	claim         uint32 // u's on that run
	oneRunAtATime bool   // there is no room for more than a run at a time

	restarts int

	// For Stored: the chain starts at depth base, with a run, under run and
	// claim; its blocks before from are only there to find the way.
	event      *StoredBlocks
	base, from int
	restart    bool // the tree has changed: start again
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

// letIn lets others have the lock and finds the place again.
func (in *insertion) yieldAndResume() bool {
	if in.t.overBudget() {
		in.t.updateHeapKey(in.u)
		in.t.yield()
	}
	return in.resume()
}

// again finds the place when the tree has changed under the insertion: where it
// was, or else at the root. What was known of the part that is done stays known.
func (in *insertion) resume() bool {
	if in.event != nil {
		in.restart = true
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

// same tells whether the run before the place is still there and as it was;
// then so is all before it. Its number, and the claim's, may be new.
func (in *insertion) relocate() bool {
	ref := in.t.findRun(in.chain[in.start], in.start)
	if ref == 0 {
		return false
	}
	r := in.t.run(ref)
	_, e := in.t.findHolder(r, in.u.slot)
	if r.end() != in.done || r.last.Load() != in.chain[in.done-1] || holderEffective(e) != r.blocks() {
		return false
	}
	in.run, in.claim = ref, holderClaim(e)
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

// at is how deep in the tree the insertion is.
func (in *insertion) depth() int { return in.base + in.done }

// add makes u's claim on a run have n more blocks from first on, of which the
// first is the next of the chain.
func (in *insertion) addBlocks(first, n int) {
	t := in.t
	have := t.claim(in.claim).present.Load()
	if set := (uint64(1)<<n - 1) << first; have|set != have {
		t.setPresent(in.claim, have|set)
	}
	if in.event == nil {
		return
	}
	for i := range n {
		t.addCopy(in.claim, first+i, first+n, in.event.Keys[in.done+first+i-in.from], in.event.Tier)
	}
}

// follow goes along a run that is there, as far as the chain does.
func (in *insertion) followRun(ref uint32, rest []uint64) bool {
	t := in.t
	r := t.run(ref)
	if r.parent() != in.run {
		return false // a chain element that does not commit to what is before it
	}
	n := t.matchLength(r, rest)
	i, e := t.findHolder(r, in.u.slot)
	known := min(n, max(0, in.from-in.done)) // blocks that are not for us to add
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
		i, e = t.findHolder(r, in.u.slot)
	}
	had := holderEffective(e)
	if i < 0 {
		in.claim = in.newClaim(ref)
	} else {
		t.touch(in.u, holderClaim(e), in.claim)
		in.claim = holderClaim(e)
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

// know notes that the upstream was known to hold n blocks of the chain, once.
func (in *insertion) noteHeld(n int) {
	if in.held < 0 {
		in.held = n
	}
}

func (in *insertion) newClaim(run uint32) uint32 {
	t := in.t
	ref := t.newClaim(in.u, run, in.claim, in.weight)
	t.linkAgeBefore(in.u, ref, in.claim)
	t.pushHeap(in.u)
	return ref
}

// extend makes the leaf r longer.
func (in *insertion) extendLeaf(r *run, rest []uint64) bool {
	t := in.t
	n := min(len(rest), maxBlocksAt(in.depth()))
	var need [kinds]int
	if k := r.blocks() + n; k >= minHashList && k > r.hashListLines()*lineWords {
		need[hashListKind(k)]++
	}
	if in.event != nil {
		t.needRecord(&need, n, r.blocks()+n)
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
	in.done -= was // add counts from the start of the run
	in.addBlocks(was, n)
	in.done += was + n
	return true
}

// branch makes a new run.
func (in *insertion) addRun(rest []uint64) bool {
	t := in.t
	n := min(len(rest), maxBlocksAt(in.depth()))
	// Ask for what the rest of the chain takes, so that a full tree is made to
	// give once and not for each run.
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
		t.needRecord(&need, runs*MaxRun, n)
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
			in.t.needRecord(&need, 0, n)
			need[recordKind(n)] += h
		}
	}
	if in.event != nil {
		in.t.needRecord(&need, n, n)
	}
	if c := r.class(); c == classTable {
		need[kindHolderList+3]++
	} else if h == classCapacity[c] {
		needHolders(&need, h+1)
	}
	return in.t.reserve(&need)
}

// needHolders adds what a list of n holders takes.
func needHolders(need *[kinds]int, n int) {
	switch {
	case n > listSize:
		need[kindListTable]++
		need[kindHolderList+3] += (n + listSize - 1) / listSize
	case n > maxInlineHolders:
		need[holderListKind(n)]++
	}
}
