package daemon

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
	"shellspawn/spawnsock/dial"
)

// feedWatchdog tells the service manager that all is well, as long as the daemon
// answers its own question through its own sockets, like any client. It returns
// when a stop is over.
func (d *Daemon) feedWatchdog() {
	interval := d.supervisor.watchdog / 2
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-d.ended:
			return
		case <-tick.C:
			if err := d.check(interval); err != nil {
				d.log.Error("self-check", "cause", err)
				continue
			}
			d.tell(d.supervisor.notifier.Watchdog())
		}
	}
}

// check asks through every socket. A stop is bounded by its grace and closes the
// sockets, so nothing is asked then. Neither is it a sign of a daemon that hangs
// if there is no descriptor left to ask with.
func (d *Daemon) check(limit time.Duration) error {
	for _, l := range d.listeners {
		err := d.selfCheck(l.Path(), limit)
		if err != nil && !d.isStopping() && !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
			return err
		}
	}
	return nil
}

var errNoAnswer = errors.New("no answer to a request for the status")

// askOneself asks for the status, within about the given time.
func askOneself(path string, limit time.Duration) error {
	fd, _, err := dial.Connect(path, limit, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(limit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return err
	}
	question := wire.AppendControl(nil, wire.Hello{Version: wire.Version}, wire.Control{Command: "status"})
	if err := wire.Send(fd, question); err != nil {
		return err
	}
	kind, _, err := wire.NewReader(wire.RecvFD(fd, 0), nil).Message()
	if err != nil || kind != wire.KindReply {
		return errNoAnswer
	}
	return nil
}
