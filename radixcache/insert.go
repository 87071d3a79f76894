// SPDX-License-Identifier: Apache-2.0

package radixcache

// stepRuns is for how many runs an insertion makes room at a time.
const stepRuns = 64

// maxRestarts is how often an insertion goes back to the root because others
// change what it has just done. Then what is done is enough.
const maxRestarts = 100

// insertion is one Insert under way.
type insertion struct {
	t      *Tree
	u      *upstream
	chain  []uint64
	weight uint32
	held   int
	done   int    // blocks that are in the tree
	run    uint32 // the one that ends at done, 0 at the root
	start  int    // where it starts in the chain
	claim  uint32 // u's on that run
	tight  bool   // there is no room for more than a run at a time

	restarts int

	// For Stored: the chain starts at depth base, with a run, under run and
	// claim; its blocks before from are only there to find the way.
	event      *StoredBlocks
	base, from int
	lost       bool // the tree has changed: start again
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
	t.tick()
	if !t.mend(u) {
		return 0
	}
	t.restamp()
	for in.done < len(chain) && in.step() {
		if (in.done < len(chain) && t.tired() || u.unsettled()) && !in.letIn() {
			break
		}
	}
	t.rekey(u)
	if in.held < 0 {
		in.held = in.done
	}
	return in.held
}

// letIn lets others have the lock and finds the place again.
func (in *insertion) letIn() bool {
	if in.t.tired() {
		in.t.rekey(in.u)
		in.t.yield()
	}
	return in.again()
}

// again finds the place when the tree has changed under the insertion: where it
// was, or else at the root. What was known of the part that is done stays known.
func (in *insertion) again() bool {
	if in.event != nil {
		in.lost = true
		return false
	}
	if !in.t.mend(in.u) {
		return false
	}
	if in.run == 0 || in.same() {
		return true
	}
	in.run, in.claim, in.start, in.done = 0, 0, 0, 0
	in.restarts++
	in.t.restamp()
	return in.restarts < maxRestarts
}

// same tells whether the run before the place is still there and as it was;
// then so is all before it. Its number, and the claim's, may be new.
func (in *insertion) same() bool {
	ref := in.t.find(in.chain[in.start], in.start)
	if ref == 0 {
		return false
	}
	r := in.t.run(ref)
	_, e := in.t.holderOf(r, in.u.slot)
	if r.end() != in.done || r.last.Load() != in.chain[in.done-1] || holderWhole(e) != r.len() {
		return false
	}
	in.run, in.claim = ref, holderClaim(e)
	return true
}

// step records the blocks of one more run.
func (in *insertion) step() bool {
	t, rest := in.t, in.chain[in.done:]
	t.did(2)
	if t.index.buckets() == 0 {
		return t.start(&t.index) && in.again()
	}
	ref := t.find(rest[0], in.at())
	if ref != 0 {
		return in.follow(ref, rest)
	}
	if in.done < in.from {
		return false
	}
	if in.run != 0 {
		if r := t.run(in.run); r.children() == 0 && r.end()%MaxRun != 0 {
			return in.extend(r, rest)
		}
	}
	return in.branch(rest)
}

// at is how deep in the tree the insertion is.
func (in *insertion) at() int { return in.base + in.done }

// add makes u's claim on a run have n more blocks from first on, of which the
// first is the next of the chain.
func (in *insertion) add(first, n int) {
	t := in.t
	have := t.claim(in.claim).have.Load()
	if set := (uint64(1)<<n - 1) << first; have|set != have {
		t.setHave(in.claim, have|set)
	}
	if in.event == nil {
		return
	}
	for i := range n {
		t.tell(in.claim, first+i, first+n, in.event.Keys[in.done+first+i-in.from], in.event.Tier)
	}
}

// follow goes along a run that is there, as far as the chain does.
func (in *insertion) follow(ref uint32, rest []uint64) bool {
	t := in.t
	r := t.run(ref)
	if r.parent() != in.run {
		return false // a chain element that does not commit to what is before it
	}
	n := t.matched(r, rest)
	i, e := t.holderOf(r, in.u.slot)
	known := min(n, max(0, in.from-in.done)) // blocks that are not for us to add
	if i < 0 && known > 0 {
		return false
	}
	divides := n < r.len() && n < len(rest)
	if divides || i < 0 || in.event != nil {
		if done, still := in.reserve(r, n, divides); !done || !still {
			return done && in.again()
		}
	}
	if divides {
		ref = t.split(ref, n)
		r = t.run(ref)
		i, e = t.holderOf(r, in.u.slot)
	}
	had := holderWhole(e)
	if i < 0 {
		in.claim = in.newClaim(ref)
	} else {
		t.touch(in.u, holderClaim(e), in.claim)
		in.claim = holderClaim(e)
		t.setWeight(t.claim(in.claim), in.weight)
	}
	if had < n {
		in.know(in.done + had)
	}
	if had < n || in.event != nil {
		in.add(known, n-known)
	}
	in.run, in.start, in.done = ref, in.done, in.done+n
	return true
}

// know notes that the upstream was known to hold n blocks of the chain, once.
func (in *insertion) know(n int) {
	if in.held < 0 {
		in.held = n
	}
}

func (in *insertion) newClaim(run uint32) uint32 {
	t := in.t
	ref := t.newClaim(in.u, run, in.claim, in.weight)
	t.linkOlder(in.u, ref, in.claim)
	t.queue(in.u)
	return ref
}

// extend makes the leaf r longer.
func (in *insertion) extend(r *run, rest []uint64) bool {
	t := in.t
	n := min(len(rest), roomIn(in.at()))
	var need [kinds]int
	if k := r.len() + n; k >= noBodyUnder && k > r.lines()*lineWords {
		need[bodyKind(k)]++
	}
	if in.event != nil {
		t.needTold(&need, n, r.len()+n)
	}
	if done, still := t.reserve(&need); !done || !still {
		return done && in.again()
	}
	t.did(2 + n/lineWords)
	in.know(in.done)
	was, h := r.len(), r.head.Load()
	t.open(h)
	t.fill(r, was, rest[:n])
	t.shut(h)
	t.blocks += n
	in.done -= was // add counts from the start of the run
	in.add(was, n)
	in.done += was + n
	return true
}

// branch makes a new run.
func (in *insertion) branch(rest []uint64) bool {
	t := in.t
	n := min(len(rest), roomIn(in.at()))
	// Ask for what the rest of the chain takes, so that a full tree is made to
	// give once and not for each run.
	var need [kinds]int
	runs := min((len(rest)-n+MaxRun-1)/MaxRun, stepRuns) + 1
	if in.tight {
		runs = 1
	}
	need[kindRun], need[kindClaim], need[kindBucket], need[kindChunk] = runs, runs, runs/2+4, 1
	if runs > 1 {
		need[bodyKind(MaxRun)] = runs
	}
	if n >= noBodyUnder {
		need[bodyKind(n)]++
	}
	if in.event != nil {
		t.needTold(&need, runs*MaxRun, n)
	}
	if done, still := t.reserve(&need); !done && runs > 1 {
		in.tight = true
		return in.again()
	} else if !done || !still {
		return done && in.again()
	}
	t.did(4 + n/lineWords)
	in.know(in.done)
	in.run, in.start = t.newRun(in.run, in.at(), rest[:n]), in.done
	in.claim = in.newClaim(in.run)
	in.add(0, n)
	in.done += n
	return true
}

// reserve makes room for a new claim on r and, when the chain leaves r after n
// blocks, for the split.
func (in *insertion) reserve(r *run, n int, divides bool) (done, still bool) {
	var need [kinds]int
	h := r.holders()
	need[kindClaim] = 1
	if divides {
		need[kindClaim] += h
		need[kindRun], need[kindBucket], need[kindChunk] = 1, 4, 1
		for _, k := range []int{n, r.len() - n} {
			if k >= noBodyUnder {
				need[bodyKind(k)]++
			}
		}
		needHolders(&need, h)
		if in.t.told.entries > 0 {
			in.t.needTold(&need, 0, n)
			need[toldKind(n)] += h
		}
	}
	if in.event != nil {
		in.t.needTold(&need, n, n)
	}
	if c := r.class(); c == inTable {
		need[kindHold+3]++
	} else if h == classRoom[c] {
		needHolders(&need, h+1)
	}
	return in.t.reserve(&need)
}

// needHolders adds what a list of n holders takes.
func needHolders(need *[kinds]int, n int) {
	switch {
	case n > listOf:
		need[kindTable]++
		need[kindHold+3] += (n + listOf - 1) / listOf
	case n > inlineHolders:
		need[holdKind(n)]++
	}
}
