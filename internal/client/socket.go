package client

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock/dial"
)

// candidate is a socket path and why it is one.
type candidate struct{ path, why string }

// candidates lists the sockets to try, and whether the path implies the old
// dialect. A client that is not root tries its user's socket, then the
// system's.
func (o *Options) candidates() (list []candidate, legacy bool) {
	if o.Socket != "" {
		return []candidate{{o.Socket, "--socket"}}, false
	}
	if path := o.getenv("SHELLSPAWN_SOCKET"); path != "" {
		return []candidate{{path, "SHELLSPAWN_SOCKET"}}, false
	}
	if prefix := o.getenv("DPREFIX"); prefix != "" {
		return []candidate{{prefix + "/var/run/shellspawn.sock", "DPREFIX"}}, true
	}
	system := candidate{"/run/shellspawn.sock", "the system's socket"}
	if dir := o.getenv("XDG_RUNTIME_DIR"); dir != "" && unix.Geteuid() != 0 {
		list = append(list, candidate{dir + "/shellspawn.sock", "the user's socket"})
	}
	return append(list, system), false
}

// connection is a connected socket. Its descriptor is blocking.
type connection struct {
	fd     int
	path   string
	waited time.Duration
}

// connect tries the candidates in turn; only a socket that is not there or has
// no listener makes it try the next one.
func connect(o *Options, list []candidate, r *reporter) (connection, *failure) {
	deadline := time.Now().Add(o.ConnectTimeout)
	for i, c := range list {
		last := i == len(list)-1
		fd, waited, err := dial.Connect(c.path, time.Until(deadline), o.Wait && last)
		if err == nil {
			r.explain("socket ", c.path, " (", c.why, "), connected after waiting ", milliseconds(waited))
			return connection{fd: fd, path: c.path, waited: waited}, nil
		}
		if last || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED) {
			return connection{}, connectFailure(c.path, err)
		}
		r.explain(err.Error(), ", trying the next socket")
	}
	return connection{}, fail("connect: no socket path")
}

// connectFailure says what to do about a socket that cannot be reached.
func connectFailure(path string, err error) *failure {
	f := fail(err.Error())
	switch {
	case errors.Is(err, dial.ErrQueueFull):
		return f.withHint("the daemon does not keep up or hangs; see 'shellspawn status', and raise its --backlog or net.core.somaxconn")
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return f.withHint("no daemon is listening there; start one with 'shellspawn serve --background --socket ", path, "', or use --wait")
	case errors.Is(err, unix.EACCES):
		return f.withHint("the mode, owner and group of ", path, " decide who may connect; see --socket-mode and --socket-group of the daemon")
	}
	return f
}
