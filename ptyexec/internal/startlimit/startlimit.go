//go:build linux && (amd64 || arm64)

// Package startlimit knows the soft limit on open descriptors that this
// process was started with.
//
// Package syscall raises that limit in its init function, so this package has
// to look earlier. The language initialises packages sorted by import path, each
// as soon as its own imports are: one that imports nothing, and whose path
// sorts before "syscall", comes before syscall. That is why it makes
// the system call in assembly and imports nothing but unsafe.
package startlimit

import "unsafe"

// rlimit is struct rlimit64 of prlimit(2).
type rlimit struct{ soft, hard uint64 }

var soft, known = read()

func read() (uint64, bool) {
	var l rlimit
	if getNoFile(unsafe.Pointer(&l)) != 0 {
		return 0, false
	}
	return l.soft, true
}

// getNoFile reads RLIMIT_NOFILE of this process into the rlimit at l and returns
// what the kernel returned.
//
//go:noescape
func getNoFile(l unsafe.Pointer) int

// NoFile returns the soft RLIMIT_NOFILE as it was before any Go code could
// change it. The second result is false if it could not be read.
func NoFile() (uint64, bool) { return soft, known }
