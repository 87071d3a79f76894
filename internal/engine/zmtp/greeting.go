// SPDX-License-Identifier: Apache-2.0

package zmtp

// greetingSize is that of either side's first bytes, fixed since ZMTP 3.0:
// signature (10), version (2), mechanism (20), as-server (1), filler (31).
const greetingSize = 64

// greeting returns ours: version 3.0, which every libzmq since 4.0 answers,
// with 3.1's heartbeats if it knows them; mechanism NULL; not a server.
func greeting() (g [greetingSize]byte) {
	g[0], g[9], g[10] = 0xff, 0x7f, 3
	copy(g[12:32], "NULL")
	return g
}

// minorVersion checks the rest of the peer's, which has arrived, and returns
// its minor version. The padding of the signature, the server flag and the
// filler mean nothing to NULL.
func minorVersion(g []byte) (minor byte, err error) {
	var mechanism [20]byte
	copy(mechanism[:], "NULL")
	if [20]byte(g[12:32]) != mechanism {
		return 0, ErrSecurity
	}
	return g[11], nil
}

// checkSignature checks as much of a greeting as has arrived, so that a peer
// of another protocol, or of ZMTP 1 and 2 whose greetings are shorter, need
// not be waited for.
func checkSignature(g []byte) error {
	if len(g) > 0 && g[0] != 0xff || len(g) > 9 && g[9] != 0x7f || len(g) > 10 && g[10] < 3 {
		return ErrForeign
	}
	return nil
}
