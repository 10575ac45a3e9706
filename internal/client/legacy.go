package client

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
	"shellspawn/internal/wire"
)

// oldDialect speaks to the daemon of a Darling container: the client makes the
// pty, and there is no answer but the exit status.
type oldDialect struct{ *session }

// request sends one message after the other, as the original client does.
func (d oldDialect) request() *failure {
	if d.options.User != "" {
		return fail("user ", d.options.User, ": the old dialect has no request for another user")
	}
	fds := []int{0, 1, 2}
	if d.streams.pty {
		if err := d.makePty(fds); err != nil {
			return fail("open pty: ", err.Error())
		}
	}
	w := commandWriter{conn: &d.conn}
	d.commands(&w)
	w.flush()
	if w.err == nil {
		// A write of its own: the descriptors belong to the bytes of GO.
		w.err = d.conn.send(wire.AppendLegacyGo(nil), fds...)
	}
	switch {
	case w.err == nil:
		return nil
	case w.err == unix.EAGAIN:
		return fail("send request: ", d.conn.path, ": the daemon does not read")
	case errors.Is(w.err, wire.ErrTooLarge):
		return unsendable(w.err)
	}
	return fail("send request: ", d.conn.path, ": ", lostCause(w.err))
}

// makePty makes the pty and puts its subsidiary in the place of each descriptor
// that is a terminal. It stays open here, so that the master does not report an
// end before the shell has one.
func (d oldDialect) makePty(fds []int) error {
	master, subsidiary, err := tty.NewPair()
	if err != nil {
		return err
	}
	var settings []byte
	if d.streams.outer != nil {
		settings = d.streams.outer.Settings()
	}
	master.Configure(d.streams.getwinsize(), settings)
	d.master = master
	for i := range fds {
		if i < 2 || len(d.streams.passed) == 0 {
			fds[i] = subsidiary
		}
	}
	return nil
}

// atomicWrite is the most that the kernel takes into a Unix socket in one piece.
const atomicWrite = 32 << 10

// commandWriter sends commands with few system calls and none of them in two
// pieces: the original daemon takes what one read(2) gives it for a whole
// header or payload. The first error stays in err, and nothing follows it.
type commandWriter struct {
	conn *connection
	b    []byte
	err  error
}

func (w *commandWriter) text(c wire.LegacyCommand, s string) {
	if len(w.b)+len(s) > atomicWrite-16 {
		w.flush()
	}
	if w.err == nil {
		w.b, w.err = wire.AppendLegacyString(w.b, c, s)
	}
}

func (w *commandWriter) flush() {
	if w.err == nil {
		w.err = w.conn.send(w.b)
	}
	w.b = w.b[:0]
}

// commands writes all messages before GO, in the order of the original client.
func (d oldDialect) commands(w *commandWriter) {
	o := d.options
	for _, v := range legacyEnvironment(o) {
		w.text(wire.LegacySetEnv, v)
	}
	if o.Shell != "" {
		// A login shell like the daemon's own, told in the way that all shells know.
		w.text(wire.LegacySetExec, o.Shell)
		w.text(wire.LegacyAddArg, "-"+o.Shell[strings.LastIndexByte(o.Shell, '/')+1:])
	}
	for _, a := range legacyArguments(o) {
		w.text(wire.LegacyAddArg, a)
	}
	w.text(wire.LegacyChdir, "/Volumes/SystemRoot"+d.dir.path)
	w.flush()
	w.b = wire.AppendLegacySetUIDGID(w.b, uint32(unix.Getuid()), uint32(unix.Getgid()))
}

// legacyEnvironment is the container's own path and home, then ours but for
// those. What -e sets comes last and counts.
func legacyEnvironment(o *Options) []string {
	env := []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin",
		"TMPDIR=/private/tmp",
		"HOME=/Users/" + loginName(o),
	}
	for _, v := range o.Environ {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == "PATH", name == "TMPDIR", name == "HOME":
		case o.CleanEnv && !sends(o, name):
		default:
			env = append(env, v)
		}
	}
	return append(env, o.SetEnv...)
}

// loginName is the name of the real user.
func loginName(o *Options) string {
	uid := strconv.Itoa(unix.Getuid())
	passwd, _ := os.ReadFile("/etc/passwd") // without it the environment knows
	for line := range strings.Lines(string(passwd)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			return f[0]
		}
	}
	return o.getenv("LOGNAME")
}

// legacyArguments are what the shell gets after --login: nothing, or -c and one
// string.
func legacyArguments(o *Options) []string {
	switch {
	case o.HasCommand:
		return append([]string{"-c", o.Command}, o.Args...)
	case len(o.Args) > 0:
		quoted := make([]string, len(o.Args))
		for i, a := range o.Args {
			quoted[i] = quote(a)
		}
		return []string{"-c", strings.Join(quoted, " ")}
	}
	return nil
}

// quote puts an argument between single quotes for a shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// started: the old dialect does not say.
func (d oldDialect) started() *failure {
	_ = d.conn.file.SetReadDeadline(time.Time{}) // it is in the poller
	return nil
}

// signal sends one signal on. The old dialect does not acknowledge it, but the
// kernel tells whether the daemon has read it: one that hangs does not keep the
// client from ending with TERM or HUP.
func (d oldDialect) signal(sig unix.Signal) {
	sent := sig
	if !d.streams.pty && sig == unix.SIGINT {
		// The original daemon signals the shell alone, which ignores SIGINT.
		sent = unix.SIGTERM
	}
	_ = d.conn.send(wire.AppendLegacySignal(nil, uint32(sent))) // a lost daemon is noticed by the reader
	if sig != unix.SIGTERM && sig != unix.SIGHUP {
		return
	}
	time.AfterFunc(ackTimeout, func() {
		unread, err := unix.IoctlGetInt(d.conn.fd, unix.SIOCOUTQ)
		if err == nil && unread > 0 && !d.ended.Load() {
			modern(d).giveUp(sig)
		}
	})
}

// hangup: the shell learns it like from any terminal.
func (d oldDialect) hangup() { d.signal(unix.SIGHUP) }

// exited waits for the four bytes of the status.
func (d oldDialect) exited() (int, error) {
	status, err := d.reader.Status()
	d.ending = "status " + strconv.Itoa(int(status)&0xff)
	return int(status) & 0xff, err
}
