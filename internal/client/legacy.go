package client

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
	"shellspawn/internal/wire"
)

// oldDialect speaks to the daemon of a Darling container: the client makes the
// pty, and there is no answer but the exit status.
type oldDialect struct{ *session }

// request sends one message after the other, as the original client does.
func (d oldDialect) request() *failure {
	fds := []int{0, 1, 2}
	if d.streams.pty {
		if err := d.makePty(fds); err != nil {
			return fail("open pty: ", err.Error())
		}
	}
	b, err := d.commands()
	if err == nil {
		err = wire.Send(d.conn.fd, b)
	}
	if err == nil {
		// A write of its own: the descriptors belong to the bytes of GO.
		err = wire.Send(d.conn.fd, wire.AppendLegacyGo(nil), fds...)
	}
	if err != nil {
		return unsendable(err)
	}
	return nil
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

// commands are all messages before GO, in the order of the original client.
func (d oldDialect) commands() ([]byte, error) {
	o := d.options
	var b []byte
	var err error
	add := func(c wire.LegacyCommand, s string) {
		if err == nil {
			b, err = wire.AppendLegacyString(b, c, s)
		}
	}
	for _, v := range legacyEnvironment(o) {
		add(wire.LegacySetEnv, v)
	}
	if o.Shell != "" {
		add(wire.LegacySetExec, o.Shell)
		add(wire.LegacyAddArg, o.Shell)
	}
	for _, a := range legacyArguments(o) {
		add(wire.LegacyAddArg, a)
	}
	dir, _ := workingDirectory(o)
	add(wire.LegacyChdir, "/Volumes/SystemRoot"+dir)
	b = wire.AppendLegacySetUIDGID(b, uint32(unix.Getuid()), uint32(unix.Getgid()))
	return b, err
}

// legacyEnvironment is the container's own path and home, then ours but for
// those.
func legacyEnvironment(o *Options) []string {
	env := []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin",
		"TMPDIR=/private/tmp",
		"HOME=/Users/" + loginName(o),
	}
	for _, v := range o.Environ {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "PATH", "TMPDIR", "HOME":
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
func (d oldDialect) started() *failure { return nil }

func (d oldDialect) signal(sig unix.Signal) {
	if !d.streams.pty && sig == unix.SIGINT {
		// The original daemon signals the shell alone, which ignores SIGINT.
		sig = unix.SIGTERM
	}
	_ = wire.Send(d.conn.fd, wire.AppendLegacySignal(nil, uint32(sig))) // a lost daemon is noticed by the reader
}

// hangup: the shell learns it like from any terminal.
func (d oldDialect) hangup() { d.signal(unix.SIGHUP) }

// exited waits for the four bytes of the status.
func (d oldDialect) exited() (int, error) {
	status, err := d.reader.Status()
	return int(status) & 0xff, err
}
