// SPDX-License-Identifier: Apache-2.0

package radixcache

// stepRuns is how many new runs an insertion makes before it lets others in.
const stepRuns = 64

// insertion is one Insert under way.
type insertion struct {
	t      *Tree
	u      *upstream
	chain  []uint64
	weight uint32
	stamp  uint64
	held   int
	done   int    // blocks that are in the tree
	run    uint32 // the one that ends at done, 0 at the root
	claim  uint32 // u's on that run
	made   int    // runs since others were let in
	tight  bool   // there is no room for more than a run at a time
}

// Insert records that up holds the whole chain, from the root; weight is the
// number of tokens in a block. It returns how many blocks of it up was already
// known to hold, and makes up's claims on all of it the youngest.
//
// When the chain is longer than fits under the limit, its head is recorded.
func (t *Tree) Insert(up Upstream, chain []uint64, weight uint32) (held int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.upstreamOf(up)
	if u == nil || len(chain) == 0 {
		return 0
	}
	in := insertion{t: t, u: u, chain: chain, weight: weight, stamp: t.tick(), held: -1}
	for in.done < len(chain) {
		if in.made >= stepRuns && !in.letIn(up) {
			break
		}
		if !in.step() {
			break
		}
	}
	if in.held < 0 {
		in.held = in.done
	}
	return in.held
}

// letIn lets others have the lock and finds the place again.
func (in *insertion) letIn(up Upstream) bool {
	in.t.yield()
	in.made = 0
	if in.t.upstreamOf(up) != in.u {
		return false
	}
	in.t.stamp = in.stamp
	return in.again()
}

// again goes back to the root, because the tree has changed under the insertion.
// What was known of the part that is done stays known.
func (in *insertion) again() bool {
	in.run, in.claim = 0, 0
	done := in.done
	for in.done = 0; in.done < done; {
		ref := in.t.find(in.chain[in.done], in.done)
		if ref == 0 {
			return true // go on from here
		}
		r := in.t.run(ref)
		n := in.t.matched(r, in.chain[in.done:])
		_, e := in.t.holderOf(r, in.u.slot)
		if e == 0 || r.parent() != in.run || holderWhole(e) < min(n, done-in.done) || n < r.len() {
			return true
		}
		in.run, in.claim = ref, holderClaim(e)
		in.done += n
	}
	return true
}

// step records the blocks of one more run.
func (in *insertion) step() bool {
	t, rest := in.t, in.chain[in.done:]
	if t.buckets() == 0 && !t.startIndex() {
		return false
	}
	ref := t.find(rest[0], in.done)
	if ref != 0 {
		return in.follow(ref, rest)
	}
	if in.run != 0 {
		if r := t.run(in.run); r.children() == 0 && r.end()%MaxRun != 0 {
			return in.extend(r, rest)
		}
	}
	return in.branch(rest)
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
	if divides := n < r.len() && n < len(rest); divides || i < 0 {
		if done, still := in.reserve(r, n, divides); !done || !still {
			return done && in.again()
		}
		if divides {
			ref = t.split(ref, n)
			r = t.run(ref)
			i, e = t.holderOf(r, in.u.slot)
		}
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
		t.setHave(in.claim, t.claim(in.claim).have.Load()|(1<<n-1))
	}
	in.run, in.done = ref, in.done+n
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
	n := min(len(rest), roomIn(in.done))
	var need [kinds]int
	if k := r.len() + n; k >= noBodyUnder && k > r.lines()*lineWords {
		need[bodyKind(k)]++
	}
	if done, still := t.reserve(&need); !done || !still {
		return done && in.again()
	}
	in.know(in.done)
	was, h := r.len(), r.head.Load()
	t.open(h)
	t.fill(r, in.chain[in.done-was:in.done+n])
	t.shut(h)
	t.blocks += n
	t.setHave(in.claim, t.claim(in.claim).have.Load()|(1<<n-1)<<was)
	in.done += n
	return true
}

// branch makes a new run.
func (in *insertion) branch(rest []uint64) bool {
	t := in.t
	n := min(len(rest), roomIn(in.done))
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
	if done, still := t.reserve(&need); !done && runs > 1 {
		in.tight = true
		return in.again()
	} else if !done || !still {
		return done && in.again()
	}
	in.know(in.done)
	in.run = t.newRun(in.run, in.done, rest[:n])
	in.claim = in.newClaim(in.run)
	t.setHave(in.claim, 1<<n-1)
	in.done += n
	in.made++
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
	}
	if c := r.class(); c == inTable {
		need[kindHold+3]++
	} else if h == classRoom[c] {
		needHolders(&need, h+1)
	}
	in.made += h / listOf
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
