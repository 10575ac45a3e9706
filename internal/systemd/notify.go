package systemd

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendTimeout bounds a notification to a service manager that does not read.
const sendTimeout = 2 * time.Second

// Notifier tells the service manager how this process is doing, as in
// sd_notify(3). Without a service manager that wants to know, as in the zero
// value, every method does nothing and returns nil. Methods may be called from
// any number of goroutines; each blocks for 2 s at most.
//
// An error means that the notification did not arrive. The daemon works without,
// so log it and go on.
type Notifier struct {
	socket *os.File
	to     string
}

// NewNotifier returns a Notifier for the socket named in NOTIFY_SOCKET: a path,
// or an abstract name with "@" in front. The socket to send from is opened here
// and kept, so that the watchdog is fed also while descriptors are short; Close
// closes it.
func NewNotifier() (*Notifier, error) { return process.newNotifier() }

func (e edge) newNotifier() (*Notifier, error) {
	address := e.getenv("NOTIFY_SOCKET")
	if address == "" {
		return &Notifier{}, nil
	}
	if len(address) < 2 || address[0] != '/' && address[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q: neither a path nor an abstract socket", address)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	patience := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		_ = unix.Close(fd) // nothing was sent
		return nil, os.NewSyscallError("setsockopt SO_SNDTIMEO", err)
	}
	return &Notifier{os.NewFile(uintptr(fd), "notify"), address}, nil
}

// Close gives the socket back. Notifications after it return an error.
func (n *Notifier) Close() error {
	if n.socket == nil {
		return nil
	}
	return n.socket.Close()
}

// Ready says that start-up is complete, or a reload that Reloading began, and
// sets the status text as Status does.
func (n *Notifier) Ready(status string) error {
	return n.send("READY=1\nSTATUS=" + oneLine(status))
}

// Status sets the text that "systemctl status" shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + oneLine(text))
}

// Stopping says that the process has begun to shut down.
func (n *Notifier) Stopping() error {
	return n.send("STOPPING=1")
}

// Reloading says that the process reads its settings again; Ready ends that. The
// message carries the time, by which a unit with Type=notify-reload knows that
// the answer belongs to its own request.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Watchdog says that the process is alive and well. See WatchdogInterval.
func (n *Notifier) Watchdog() error {
	return n.send("WATCHDOG=1")
}

// send sends one datagram. The socket stays unconnected, so each message looks
// for the receiver anew and survives its restart.
func (n *Notifier) send(message string) error {
	if n.socket == nil {
		return nil
	}
	raw, err := n.socket.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		for {
			to := &unix.SockaddrUnix{Name: n.to} // Sendto writes to it, so not shared
			sendErr = unix.Sendto(int(fd), []byte(message), unix.MSG_NOSIGNAL, to)
			if sendErr != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = sendErr
	}
	if err != nil {
		return fmt.Errorf("notify %s: %w", n.to, err)
	}
	return nil
}

// oneLine keeps a text from adding assignments of its own to a notification.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
