package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// NewLog returns a logger for people ("text") or machines ("json") that writes what
// is of the level or above, and the queue that its lines go through: flush that
// before the process ends. It never gets environment, arguments or terminal bytes
// to write, and its handlers quote control characters. With journal set, lines carry
// priorities and no time, which the journal notes itself.
func NewLog(w io.Writer, level slog.Leveler, format string, journal bool) (*slog.Logger, *LogQueue) {
	q := newLogQueue(w, directLog(w, level, format, journal))
	return directLog(q, level, format, journal), q
}

// directLog writes a line before the call that logs it returns.
func directLog(w io.Writer, level slog.Leveler, format string, journal bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return visible(a) }}
	handler := func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, o) }
	if format == "json" {
		handler = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, o) }
	}
	if !journal {
		return slog.New(handler(w))
	}
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr { return visible(dropTime(groups, a)) }
	return slog.New(newJournalHandler(w, handler))
}

// visible writes out what a terminal could take for more than text and the JSON
// handler would leave as it is: DEL, the control characters of ISO 8859-1, those that
// turn the direction of text. Names of programs may hold anything; numbers and times
// do not, and to write those out costs more than the line.
func visible(a slog.Attr) slog.Attr {
	if kind := a.Value.Kind(); kind != slog.KindString && kind != slog.KindAny {
		return a
	}
	text := a.Value.String()
	if !strings.ContainsFunc(text, hidden) {
		return a
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return slog.String(a.Key, b.String())
}

// hidden leaves out what every handler escapes itself.
func hidden(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

// LogFile is a log file that can be opened again after it was renamed, or another one
// in its place.
type LogFile struct {
	stderr bool
	file   atomic.Pointer[os.File]
}

// OpenLogFile opens the file for appending. A new one is for its owner alone: who
// runs what is nobody else's business. With stderr set the file is put on standard
// error, too, where the runtime reports a crash.
func OpenLogFile(path string, stderr bool) (*LogFile, error) {
	l := &LogFile{stderr: stderr}
	return l, l.Open(path)
}

// Open opens the path in place of the file that there is. If that fails that one
// stays. It does not wait for a write that hangs.
func (l *LogFile) Open(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_NOCTTY, 0o600)
	if err != nil {
		return err
	}
	if l.stderr {
		if err := unix.Dup3(int(file.Fd()), 2, 0); err != nil {
			_ = file.Close() // nothing was written
			return os.NewSyscallError("dup3", err)
		}
	}
	if old := l.file.Swap(file); old != nil {
		_ = old.Close() // at the end of a write that is under way
	}
	return nil
}

// Write writes to the file of this moment. A file that is closed before it took
// anything was replaced.
func (l *LogFile) Write(lines []byte) (int, error) {
	for {
		n, err := l.file.Load().Write(lines)
		if n > 0 || !errors.Is(err, os.ErrClosed) {
			return n, err
		}
	}
}

// acceptLogPause is the least time between two lines about accept errors.
const acceptLogPause = 10 * time.Second

// acceptErrors returns a function that logs accept errors, not each one: while
// descriptors are short there is one every second, or every few milliseconds.
func (d *Daemon) acceptErrors() func(err error, pause time.Duration) {
	var mu sync.Mutex
	var last time.Time
	var silent int
	return func(err error, pause time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if !last.IsZero() && time.Since(last) < acceptLogPause {
			silent++
			return
		}
		d.log.Warn("accept", "cause", err, "pause", pause, "unlogged", silent)
		last, silent = time.Now(), 0
	}
}

// handlerPanic logs a bug that ended one connection.
func (d *Daemon) handlerPanic(_ *net.UnixConn, cause any, stack []byte) {
	d.log.Error("panic", "cause", cause, "stack", string(stack))
}

// logPanic logs a bug with its stack.
func (d *Daemon) logPanic(conn uint32, cause any) {
	d.log.Error("panic", "conn", conn, "cause", cause, "stack", string(debug.Stack()))
}
