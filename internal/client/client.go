package client

import (
	"strconv"

	"golang.org/x/sys/unix"

	"shellspawn/internal/selfpipe"
	"shellspawn/internal/tty"
	"shellspawn/internal/wire"
)

// Run does what the options ask for and returns the exit status. The terminal is as
// it was when Run returns.
func Run(o *Options) (status int) {
	// Until signals are caught: not the Go runtime's action, which prints the
	// stacks of all goroutines.
	selfpipe.Default(unix.SIGQUIT)
	r := &reporter{verbose: o.Verbose}
	defer func() {
		if p := recover(); p != nil {
			r.release()
			status = r.failed(fail("internal error: ", panicText(p)))
		}
	}()
	if f := o.nameless(); f != nil {
		return r.failed(f)
	}
	list, legacy := o.candidates()
	plan, f := planStreams(o, r)
	if f != nil {
		return r.failed(f)
	}
	r.terminal = plan.outer
	dir, f := workingDirectory(o, r)
	if f != nil {
		return r.failed(f)
	}
	conn, f := connect(o, list, r)
	if f != nil {
		return r.failed(f)
	}
	s := &session{options: o, report: r, streams: plan, dir: dir, conn: conn}
	switch {
	case o.Legacy:
		s.dialect = oldDialect{s}
		r.explain("dialect: Darling's, for --legacy")
	case legacy:
		s.dialect = oldDialect{s}
		r.explain("dialect: Darling's, for DPREFIX")
	default:
		s.dialect = modern{s}
		r.explain("dialect: shellspawn's, version ", strconv.Itoa(wire.Version))
	}
	return s.run()
}

// streams is what the program's three descriptors will be.
type streams struct {
	// pty says that stdin and stdout, and stderr if it is a terminal, are a
	// pty; otherwise all three are the caller's own.
	pty bool
	// passed are the caller's descriptors that go to the program as they are.
	passed []int
	// outer is the caller's terminal: the first of 0, 1 and 2 that is one.
	outer *tty.Terminal
	// typed says that input comes from a terminal, which needs raw mode;
	// shown, that output goes to one.
	typed, shown bool
}

// planStreams decides between a pty and the caller's own descriptors.
func planStreams(o *Options, r *reporter) (streams, *failure) {
	in := tty.Open(0)
	if o.Terminal == Never {
		return ownStreams(in, r, "-T")
	}
	if o.Terminal == Auto && in == nil {
		return ownStreams(in, r, "stdin is not a terminal")
	}
	out := tty.Open(1)
	if o.Terminal == Auto && out == nil {
		return ownStreams(in, r, "stdout is not a terminal")
	}
	s := streams{pty: true, typed: in != nil, shown: out != nil, outer: in}
	errTerminal := tty.Open(2)
	if errTerminal == nil {
		s.passed = []int{2}
	}
	for _, t := range []*tty.Terminal{out, errTerminal} {
		if s.outer == nil {
			s.outer = t
		}
	}
	why := "stdin and stdout are terminals"
	if o.Terminal == Always {
		why = "-t"
	}
	r.explain("a pty: ", why, "; stderr ", map[bool]string{true: "on it, too", false: "as it is"}[errTerminal != nil])
	return s, nil
}

// ownStreams passes all three on as they are. The program has a session of its own,
// so no job control keeps it from a terminal that it reads: in the background of a
// shell it would take what is typed for that shell, and gets /dev/null.
func ownStreams(in *tty.Terminal, r *reporter, why string) (streams, *failure) {
	r.explain("no pty: ", why)
	if in != nil && !in.Foreground() {
		r.explain("stdin: /dev/null, for a job in the background")
		null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return streams{}, fail("open /dev/null: ", err.Error())
		}
		_ = unix.Dup3(null, 0, 0) // both are open
		_ = unix.Close(null)
	}
	return streams{passed: []int{0, 1, 2}}, nil
}

// getwinsize is the size of the caller's terminal, 0x0 without one.
func (s *streams) getwinsize() unix.Winsize {
	if s.outer == nil {
		return unix.Winsize{}
	}
	return s.outer.Size()
}
