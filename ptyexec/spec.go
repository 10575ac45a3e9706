//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spec says what to start and in which surroundings. Start only reads it, and is
// done with all that it refers to when it returns.
type Spec struct {
	// Program is the file to run. Without a slash it is looked up on the PATH
	// in Env, or on /usr/local/bin:/usr/bin:/bin if Env has none, by the child:
	// from the directory and with the rights that the program will have.
	// As in execvp(3), except that a file which is neither a binary nor
	// starts with #! is an error and is not handed to a shell.
	Program string

	// Args is argv, from argv[0] on. If empty, Program is its one element.
	Args []string

	// Env is the whole environment, as NAME=value. Nothing is inherited.
	Env []string

	// Dir is the working directory. Empty means this process's own. It is
	// entered with the rights of Credential.
	Dir string

	// Fallback lists directories to try in turn if Dir cannot be entered.
	// Process.Dir tells which one it was.
	Fallback []string

	// Umask is the file mode creation mask. Nil leaves this process's own.
	Umask *int

	// Stdio holds the descriptors of this process that become 0, 1 and 2 of the
	// program. Nil, or a negative element, means the terminal of the new pty,
	// or /dev/null if there is none. They remain the caller's to close, once Start
	// has returned.
	Stdio *[3]int

	// Terminal asks for a fresh pty as the controlling terminal. Nil: none.
	Terminal *Terminal

	// AdoptTerminal makes descriptor 0 the controlling terminal if it is a
	// terminal that no session holds yet. If it is not, that is no error.
	// It has no effect together with Terminal.
	AdoptTerminal bool

	// Credential is who to run as. Nil: as this process.
	Credential *Credential
}

// Terminal describes a fresh pty.
type Terminal struct {
	// Size is the window size, pixels included. All zeros are fine.
	Size unix.Winsize

	// Settings are the terminal settings in the kernel's form, as read by
	// TCGETS or TCGETS2. Nil means the kernel's own defaults with IUTF8 on.
	Settings *unix.Termios

	// Group is the id of the group "tty". With it, the terminal gets that
	// group and mode 0620, so that write(1) and wall(1) work. 0 means unknown:
	// group and mode stay as devpts gave them.
	Group uint32
}

// Credential is an identity to run under. All three parts are always set, which
// takes CAP_SETUID and CAP_SETGID. A user other than root gets no capabilities, and
// nobody gets the session keyring of this process.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // all supplementary groups
}

// check refuses what the system calls would misunderstand: a string that no C
// string can hold, and the id -1, which to setresuid(2) means "no change".
func (s *Spec) check() error {
	for _, list := range [][]string{{s.Program}, s.Args, s.Env} {
		if slices.ContainsFunc(list, hasNUL) {
			return &StartError{Op: "exec", Path: s.Program, Err: unix.EINVAL}
		}
	}
	for _, dir := range append([]string{s.Dir}, s.Fallback...) {
		if hasNUL(dir) {
			return &StartError{Op: "chdir", Path: dir, Err: unix.EINVAL}
		}
	}
	const noChange = ^uint32(0)
	if s.Credential != nil && s.Credential.GID == noChange {
		return &StartError{Op: "setgid", Err: unix.EINVAL}
	}
	if s.Credential != nil && s.Credential.UID == noChange {
		return &StartError{Op: "setuid", Err: unix.EINVAL}
	}
	return nil
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

// StartError tells which step of a start failed.
type StartError struct {
	// Op is the step: "exec", "chdir", "setgroups", "setgid", "setuid",
	// "terminal", "open pty", "clone" and some that hardly ever fail.
	Op string

	// Path is the program for "exec", the directory for "chdir", else empty.
	Path string

	// Err is the kernel's reason. For "exec" ENOENT means that no such program
	// exists, or that the interpreter a script names does not.
	Err syscall.Errno

	// Found says of an "exec" of a path that the user can see the file there. With
	// ENOENT it is then the interpreter or the loader that does not exist.
	Found bool
}

func (e *StartError) Error() string {
	if e.Op == "exec" || e.Op == "chdir" {
		return e.Op + " " + e.Path + ": " + e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns Err, so that errors.Is(err, fs.ErrNotExist) works.
func (e *StartError) Unwrap() error { return e.Err }
