// SPDX-License-Identifier: Apache-2.0

package msgpack

// Skip passes over the next value and all values in it.
func (d *Decoder) Skip() error {
	start := d.at
	if err := d.skip(); err != nil {
		d.at = start
		return err
	}
	return nil
}

// skip keeps the number of missing values of each open array or map, so that hostile
// nesting takes neither goroutine stack nor heap.
func (d *Decoder) skip() error {
	var open [MaxDepth]uint64
	depth := 0
	for {
		h, err := d.peek()
		if err != nil {
			return err
		}
		d.at += h.size
		var values, bytes uint64
		switch h.kind {
		case Array:
			values = h.n
		case Map:
			values = 2 * h.n
		case Str, Bin, Ext:
			bytes = h.n
		}
		if max(values, bytes) > uint64(d.Left()) {
			return ErrShort
		}
		d.at += int(bytes)
		if values > 0 {
			if depth == MaxDepth {
				return ErrDepth
			}
			open[depth] = values
			depth++
			continue
		}
		for depth > 0 {
			open[depth-1]--
			if open[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
