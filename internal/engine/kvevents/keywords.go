// SPDX-License-Identifier: Apache-2.0

package kvevents

// maxWord is longer than every word that is known.
const maxKeyword = 32

// upper returns a word in upper case in buffer, cut when it is too long to be
// a known one.
func upper(word []byte, buffer *[maxKeyword]byte) []byte {
	n := copy(buffer[:], word)
	for i, c := range buffer[:n] {
		if c >= 'a' && c <= 'z' {
			buffer[i] = c - 'a' + 'A'
		}
	}
	return buffer[:n]
}

// tierOf tells where a medium keeps blocks. Of one that is not known only this
// is: the engine has the block, and not in a place that existed when this was
// written. It counts as the slowest, which is worth least, for stores and
// removals alike.
func tierOf(medium []byte) Tier {
	var buffer [maxKeyword]byte
	switch string(upper(medium, &buffer)) {
	case "GPU", "":
		return GPU
	case "CPU", "CPU_PINNED":
		return CPU
	}
	return Disk // STORAGE of vLLM; DISK, EXTERNAL of SGLang
}

// attentionOf tells what a KV cache group's kind means for prefixes. Only of
// kinds that are known to need and keep every block a prefix can be made.
func attentionOf(kind []byte) Attention {
	var buffer [maxKeyword]byte
	switch string(upper(kind, &buffer)) {
	case "FULL_ATTENTION", "MLA_ATTENTION", "SINK_FULL_ATTENTION", "":
		return Full
	}
	return Window
}

func isRemote(locality []byte) bool {
	var buffer [maxKeyword]byte
	return string(upper(locality, &buffer)) == "REMOTE"
}
