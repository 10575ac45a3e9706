package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"shellspawn/internal/systemd"
	"shellspawn/internal/wire"
	"shellspawn/spawnsock"
)

// Open takes over the sockets that a service manager passed, or opens the
// daemon's own, and then writes the pid file. From then on clients can connect;
// Serve accepts them. On failure nothing is left behind.
func (d *Daemon) Open() (err error) {
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	for _, s := range d.supervisor.sockets {
		if err := d.adopt(s); err != nil {
			return err
		}
	}
	if d.passed != nil && len(d.supervisor.sockets) > 1 {
		return errors.New("passed descriptors: a connection (Accept=yes) must be the only one")
	}
	if len(d.supervisor.sockets) == 0 {
		l, err := d.listen()
		if err != nil {
			return err
		}
		d.listeners = []*spawnsock.Listener{l}
	}
	if d.config.PIDFile != "" {
		if err := writePIDFile(d.config.PIDFile); err != nil {
			return err
		}
	}
	for _, l := range d.listeners {
		d.announce(l)
	}
	return nil
}

// adopt takes one passed socket, and closes the descriptor it came on.
func (d *Daemon) adopt(s systemd.Socket) error {
	defer s.File.Close() // both ways duplicate it
	if !s.Connected {
		l, err := spawnsock.Adopt(s.File, spawnsock.Options{Backlog: d.now().Backlog})
		if err != nil {
			return err
		}
		d.listeners = append(d.listeners, l)
		return nil
	}
	c, err := net.FileConn(s.File)
	if err != nil {
		return fmt.Errorf("passed connection %s: %w", s.Name, err)
	}
	d.passed = c.(*net.UnixConn) // the supervisor's sockets are all Unix sockets
	return nil
}

func (d *Daemon) listen() (*spawnsock.Listener, error) {
	o := spawnsock.Options{Backlog: d.now().Backlog, Mode: d.config.SocketMode}
	if d.config.SocketGroup != "" {
		gid, err := d.groupID(d.config.SocketGroup)
		if err != nil {
			return nil, fmt.Errorf("--socket-group %s: %w", d.config.SocketGroup, err)
		}
		o.Group = new(int(gid))
	}
	return spawnsock.Listen(d.config.Socket, o)
}

// Serve serves what Open opened until Shutdown is over, and returns nil then. If
// it has to stop by itself it returns why. With a passed connection it returns at
// the end of that.
func (d *Daemon) Serve() error {
	if inheritsOrphans() {
		go d.reapOrphans() // ends with the stop
	}
	if d.passed != nil {
		return d.serveOne()
	}
	for _, l := range d.listeners {
		// Both end when the listener is closed, which the end of this function waits for.
		go d.serveListener(l)
		go d.guard(l)
	}
	go d.feedWatchdog() // ends with the stop
	d.tell(d.supervisor.notifier.Ready(d.statusText()))
	<-d.ended
	d.Close() // in case the stop came before a listener was served
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

// serveOne serves the connection that was passed. A stop ends it like any other.
func (d *Daemon) serveOne() error {
	d.tell(d.supervisor.notifier.Ready("serving one connection"))
	err := d.server.ServeConn(d.passed)
	d.Shutdown()
	<-d.ended
	d.Close()
	if errors.Is(err, spawnsock.ErrServerClosed) {
		return nil
	}
	return err
}

func (d *Daemon) serveListener(l *spawnsock.Listener) {
	if err := d.server.Serve(l); !errors.Is(err, spawnsock.ErrServerClosed) {
		d.fail(err)
	}
}

// statusText is what the service manager shows while nothing special happens.
func (d *Daemon) statusText() string {
	if len(d.listeners) == 1 {
		return "listening on " + d.listeners[0].Path()
	}
	return fmt.Sprintf("listening on %d sockets", len(d.listeners))
}

// announce logs the backlog asked for and the one granted: the kernel clamps in
// silence.
func (d *Daemon) announce(l *spawnsock.Listener) {
	b := backlogOf(l)
	d.log.Info("listening", "path", l.Path(), "inherited", l.Inherited(),
		"backlog", b.Asked, "effective", b.Effective, "somaxconn", b.Somaxconn)
	d.warnCut(b)
}

func (d *Daemon) warnCut(b wire.Backlog) {
	if b.Asked > b.Effective {
		d.log.Warn("backlog cut by the kernel; raise net.core.somaxconn",
			"backlog", b.Asked, "effective", b.Effective, "somaxconn", b.Somaxconn)
	}
}

// mostPending are as many silent connections as are worth their memory, 4 KiB each.
const mostPending = 8192

// maxPending caps the connections that have not asked for anything, so that they
// cannot use up the descriptors.
func maxPending() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return spawnsock.DefaultMaxPending
	}
	return int(max(16, min(mostPending, limit.Cur/4)))
}

// tell notes that the service manager could not be told something. The daemon
// works without.
func (d *Daemon) tell(err error) {
	if err != nil && !errors.Is(err, os.ErrClosed) {
		d.log.Warn("notify", "cause", err)
	}
}
