//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"iter"
	"strings"
)

// defaultPath is searched if the environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// What exec would refuse in any case is not tried, so that a program name or a PATH as
// long as a message allows costs no memory.
const (
	maxName = 255 // NAME_MAX
	maxDirs = 4096
)

// candidates yields what to put before the program's name, in the order of the
// search. There is always at least one.
func candidates(s *Spec) iter.Seq[string] {
	return func(yield func(string) bool) {
		if s.Program == "" || len(s.Program) > maxName || strings.Contains(s.Program, "/") {
			yield("")
			return
		}
		left := maxDirs
		for dir := range strings.SplitSeq(searchPath(s.Env), ":") {
			switch {
			case dir == "":
				dir = "./"
			case !strings.HasSuffix(dir, "/"):
				dir += "/"
			}
			if left--; !yield(dir) || left == 0 {
				return
			}
		}
	}
}

// searchPath returns the value of PATH in env; the last one counts.
func searchPath(env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if path, ok := strings.CutPrefix(env[i], "PATH="); ok {
			return path
		}
	}
	return defaultPath
}
