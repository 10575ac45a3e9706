package client

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
)

// Exit statuses of our own.
const (
	statusFailure       = 125
	statusNotExecutable = 126
	statusNotFound      = 127
)

// reporter writes the client's own messages. They go to descriptor 2, start
// with the program's name, and end in CR LF while the terminal is in raw mode.
type reporter struct {
	verbose  bool
	noticed  bool
	terminal *tty.Terminal
}

// release gives the terminal back as it was, for good.
func (r *reporter) release() {
	if r.terminal != nil {
		r.terminal.Release()
	}
}

// line writes one message. That it cannot be written is nobody's business: the
// exit status says the same.
func (r *reporter) line(parts ...string) {
	end := "\n"
	if r.terminal != nil && r.terminal.IsRaw() {
		end = "\r\n"
	}
	b := make([]byte, 0, 160)
	b = append(b, "darling-shell: "...)
	for _, p := range parts {
		b = appendPlain(b, p)
	}
	_, _ = unix.Write(2, append(b, end...))
}

// appendPlain appends s with its control characters escaped: a message is one
// line, whatever the names in it are.
func appendPlain(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for _, c := range []byte(s) {
		switch {
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// notice tells somebody who watches what takes so long. The first one is enough.
func (r *reporter) notice(parts ...string) {
	if _, err := unix.IoctlGetTermios(2, unix.TCGETS); !r.noticed && (err == nil || r.verbose) {
		r.line(parts...)
	}
	r.noticed = true
}

// WrongUsage reports a mistake on the command line.
func WrongUsage(err error) {
	r := &reporter{}
	_ = r.failed(fail(err.Error()).withHint("'darling-shell --help' lists the flags")) // the status is the caller's affair
}

// explain writes a message for --verbose.
func (r *reporter) explain(parts ...string) {
	if r.verbose {
		r.line(parts...)
	}
}

// failure is an error of our own with what to try, and the status to exit with.
type failure struct {
	status int
	text   string
	hint   string
}

func (f *failure) Error() string { return f.text }

func fail(parts ...string) *failure {
	f := &failure{status: statusFailure}
	for _, p := range parts {
		f.text += p
	}
	return f
}

func (f *failure) withHint(parts ...string) *failure {
	for _, p := range parts {
		f.hint += p
	}
	return f
}

// failed reports f and returns the status to exit with.
func (r *reporter) failed(f *failure) int {
	r.line(f.text)
	if f.hint != "" {
		r.line("hint: ", f.hint)
	}
	return f.status
}

// milliseconds is a duration for a message.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds()*1000, 'f', 1, 64) + " ms"
}
