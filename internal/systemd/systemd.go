// Package systemd is the daemon's side of what a service manager offers: sockets
// opened beforehand, notification of state, the watchdog, and the journal. It
// follows sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3) and
// systemd.exec(5), and does nothing where none of it is on offer.
//
// The protocol is environment variables and so belongs to the start of a
// process: read everything first, then Forget, so that no child inherits any of
// it.
//
//	sockets, err := systemd.Sockets()
//	notify, err := systemd.NewNotifier()
//	interval, err := systemd.WatchdogInterval()
//	systemd.Forget()
//	…
//	notify.Ready("serving")
//
// The package does its own reading of the variables. The usual library for it
// reads NOTIFY_SOCKET at each notification and opens a socket for it, so it can
// neither forget the variable nor feed the watchdog while descriptors are short,
// and it hands out descriptors without looking at what they are.
package systemd

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// variables are those that speak to one process and mislead any other.
var variables = []string{
	"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES",
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
}

// edge is where the package touches its process.
type edge struct {
	getenv   func(string) string
	unsetenv func(string) error
	getpid   func() int
}

var process = edge{getenv: os.Getenv, unsetenv: os.Unsetenv, getpid: os.Getpid}

// Forget removes the variables of the service manager's protocols from the
// environment of this process.
func Forget() { process.forget() }

func (e edge) forget() {
	for _, name := range variables {
		_ = e.unsetenv(name) // fails only for names that are none
	}
}

// WatchdogInterval returns after how long a silence the service manager takes
// this process for hung. Call Notifier.Watchdog at least twice in that time. It
// is 0 if no watchdog watches this process.
func WatchdogInterval() (time.Duration, error) { return process.watchdogInterval() }

func (e edge) watchdogInterval() (time.Duration, error) {
	text := e.getenv("WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if pid := e.getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(e.getpid()) {
		return 0, nil // meant for a process that we descend from
	}
	const longest = int64(1<<63-1) / int64(time.Microsecond)
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > longest {
		return 0, fmt.Errorf("WATCHDOG_USEC %q: not a number of microseconds", text)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// JournalStream reports whether standard error goes to the journal, which then
// understands priorities such as "<4>" in front of a line.
func JournalStream() bool { return process.journalStream(2) }

// journalStream compares the device and inode that systemd announced with those
// of the descriptor: a redirection in a wrapper script changes the latter only.
func (e edge) journalStream(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	return e.getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
