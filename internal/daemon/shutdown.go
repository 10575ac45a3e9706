package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// hurryLimit is what is left after Hurry for killed shells to be reaped and
// their statuses sent.
const hurryLimit = time.Second

// Shutdown begins an orderly stop: no new connections, a hang-up for every
// shell, a kill for those that stay, and their statuses to their clients. It
// does not block; Serve returns when all is over, or when the shutdown grace is.
// Further calls do nothing.
func (d *Daemon) Shutdown() { d.stop.Do(func() { go d.drain() }) }

// Hurry makes a stop that is under way immediate: it kills what still runs.
func (d *Daemon) Hurry() { d.hurryOnce.Do(func() { close(d.hurry) }) }

// Close gives up what Open opened, in place of Serve, which does so at its end.
func (d *Daemon) Close() {
	if d.config.PIDFile != "" {
		removePIDFile(d.config.PIDFile)
	}
	for _, l := range d.listeners {
		_ = l.Close() // nobody was served yet
	}
	if d.passed != nil {
		_ = d.passed.Close()
	}
}

func (d *Daemon) isStopping() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopping
}

func (d *Daemon) drain() {
	defer close(d.ended)
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	d.tell(d.supervisor.notifier.Stopping())
	ctx, cancel := context.WithTimeout(context.Background(), d.now().ShutdownGrace)
	defer cancel()
	shells := d.hangUpAll()
	d.log.Info("drain", "shells", shells)
	reported := make(chan struct{})
	go d.reportDrain(ctx, shells, reported)
	go d.hurryUp(ctx, cancel) // ends with the context
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("cut off", "shells", len(d.running()), "cause", err)
		_ = d.server.Close() // what is left is cut off
	}
	cancel()
	<-reported
	d.log.Info("shutdown")
}

// shutdownHangup is the time shells get between hang-up and kill when the
// daemon stops: it has to fit into the shutdown grace.
func (d *Daemon) shutdownHangup() time.Duration {
	s := d.now()
	return min(s.HangupGrace, s.ShutdownGrace*4/5)
}

func (d *Daemon) hangUpAll() int {
	all := d.running()
	for _, s := range all {
		s.hangUp(causeShutdown, d.shutdownHangup())
	}
	return len(all)
}

// hurryUp waits for Hurry, or for the end of the stop.
func (d *Daemon) hurryUp(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-ctx.Done():
		return
	case <-d.hurry:
	}
	for _, s := range d.running() {
		_ = s.process.Kill() // it may have ended meanwhile
	}
	select {
	case <-ctx.Done():
	case <-time.After(hurryLimit):
		cancel()
	}
}

// reportDrain tells whoever wants to know how many shells the stop still waits
// for: the service manager and the clients of the stop command at each change,
// the log once a second at most.
func (d *Daemon) reportDrain(ctx context.Context, logged int, done chan<- struct{}) {
	defer close(done)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		n := len(d.running())
		if n > 0 {
			d.tell(d.supervisor.notifier.Status(waitingFor(n)))
		}
		d.tellHeld(n)
		select {
		case <-ctx.Done():
			return
		case <-d.left:
		case <-second.C:
			if n != logged {
				d.log.Info("drain", "shells", n)
				logged = n
			}
		}
	}
}

func waitingFor(n int) string {
	if n == 1 {
		return "waiting for 1 shell"
	}
	return fmt.Sprintf("waiting for %d shells", n)
}

// controlStop stops the daemon. The client learns that it is gone when the
// connection closes, so that is left to the end of the process.
func (cn *conn) controlStop([]string) error {
	if err := cn.mustOperate("stop"); err != nil {
		return err
	}
	d := cn.daemon
	if err := cn.hold(); err != nil {
		return err
	}
	d.log.Info("stop", "uid", cn.cred.UID, "by", cn.cred.PID)
	d.tellHeld(len(d.running()))
	d.Shutdown()
	return nil
}

// hold keeps a duplicate of the connection that is never closed.
func (cn *conn) hold() error {
	var held int
	var err error
	closed := cn.raw.Control(func(fd uintptr) {
		held, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if closed != nil {
		return closed
	}
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	cn.daemon.mu.Lock()
	defer cn.daemon.mu.Unlock()
	cn.daemon.held = append(cn.daemon.held, held)
	return nil
}

func (d *Daemon) tellHeld(waiting int) {
	body, err := json.Marshal(wire.Stopping{PID: os.Getpid(), Waiting: waiting})
	if err != nil {
		return // two numbers can be marshalled
	}
	message := wire.AppendReply(nil, body)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fd := range d.held {
		// A client that does not read, or is gone, misses a number.
		_ = unix.Send(fd, message, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
}
