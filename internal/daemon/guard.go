package daemon

import (
	"context"
	"errors"
	"net"
	"time"

	"shellspawn/spawnsock"
)

// lookAgain is the pause between two looks at the socket file where the kernel does not
// tell that it is gone, or it cannot be made anew. A look costs next to nothing.
const lookAgain = 2 * time.Second

// guard makes the socket file anew whenever it is gone. It ends with the
// listener.
func (d *Daemon) guard(l *spawnsock.Listener) {
	said := false
	for {
		err := l.WaitGone()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = l.Rebind()
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, spawnsock.ErrInUse):
			d.fail(err)
			return
		case err == nil:
			d.log.Warn("the socket file was removed; made it anew", "path", l.Path())
			said = false
			continue
		case !said:
			// Without a watch (out of inotify instances) or without the directory:
			// in both cases look again from time to time.
			d.log.Error("guard", "cause", err)
			said = true
		}
		select {
		case <-d.ended:
			return
		case <-time.After(lookAgain):
		}
	}
}

// fail ends the daemon for a reason of its own. Nobody else can connect any more,
// but shells that run are not to blame: they go on to their end, unless a stop
// is asked for.
func (d *Daemon) fail(cause error) {
	d.mu.Lock()
	known := d.failure != nil || d.stopping
	if !known {
		d.failure = cause
	}
	shells := len(d.shells)
	d.mu.Unlock()
	if known {
		return
	}
	d.log.Error("no new connections; ending after the last shell", "shells", shells, "cause", cause)
	go func() {
		_ = d.server.Shutdown(context.Background()) // waits for the handlers only
		d.Shutdown()
	}()
}
