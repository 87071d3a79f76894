// SPDX-License-Identifier: Apache-2.0

package kvevents

// maxKeyword is longer than every known keyword.
const maxKeyword = 32

// upper returns a word in upper case, cut to the length of buffer.
func upper(word []byte, buffer *[maxKeyword]byte) []byte {
	n := copy(buffer[:], word)
	for i, c := range buffer[:n] {
		if c >= 'a' && c <= 'z' {
			buffer[i] = c - 'a' + 'A'
		}
	}
	return buffer[:n]
}

// tierOf returns the tier of a medium. An unknown medium counts as the slowest
// tier, which is worth least, for stores and removals alike.
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

// attentionOf returns the attention of a KV cache group's kind. It is Full only for
// kinds that are known to need and keep every block.
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
