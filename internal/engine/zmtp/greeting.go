// SPDX-License-Identifier: Apache-2.0

package zmtp

// greetingSize is the size of a greeting, fixed since ZMTP 3.0: signature (10),
// version (2), mechanism (20), as-server (1), filler (31).
const greetingSize = 64

// greeting returns our greeting: mechanism NULL, not a server, and version 3.0,
// which every libzmq since 4.0 answers, with 3.1's heartbeats if it knows them.
func greeting() (g [greetingSize]byte) {
	g[0], g[9], g[10] = 0xff, 0x7f, 3
	copy(g[12:32], "NULL")
	return g
}

// minorVersion checks the mechanism of the peer's greeting and returns its minor
// version. NULL ignores the padding of the signature, the server flag and the
// filler.
func minorVersion(g []byte) (minor byte, err error) {
	var mechanism [20]byte
	copy(mechanism[:], "NULL")
	if [20]byte(g[12:32]) != mechanism {
		return 0, ErrSecurity
	}
	return g[11], nil
}

// checkSignature checks as much of a greeting as has arrived: a peer of another
// protocol, or of ZMTP 1 or 2, may never send 64 bytes.
func checkSignature(g []byte) error {
	if len(g) > 0 && g[0] != 0xff || len(g) > 9 && g[9] != 0x7f || len(g) > 10 && g[10] < 3 {
		return ErrForeign
	}
	return nil
}
