// Package spawnsock is a Unix stream socket with a real accept queue: a
// listener that does what net.Listen leaves out, a server that survives what
// happens to an accept loop, and a dialler that waits for its turn.
//
// The listener has a backlog of its caller's choice, which can be changed
// while clients wait, and tells what the kernel made of it and how many wait
// now. Its file has the right mode and group from the first instant, whatever
// the umask. A lock file keeps a second server away and says who the first is;
// a stale socket is replaced, a foreign one never. Paths may be longer than
// the 107 bytes that an address holds. Sockets that a service manager opened
// are adopted and left as they are.
//
// What is said on a connection, and who may say it, is left to the caller;
// PeerCred and PeerGroups tell who is at the other end.
//
//	l, err := spawnsock.Listen("/run/x.sock", spawnsock.Options{Backlog: 4096})
//	if err != nil {
//		return err
//	}
//	srv := &spawnsock.Server{Handler: func(ctx context.Context, c *net.UnixConn) {
//		io.Copy(c, c)
//	}}
//	return srv.Serve(l)
//
// It works on Linux only; elsewhere every operation fails with
// errors.ErrUnsupported.
package spawnsock

import (
	"errors"
	"fmt"
	"io/fs"

	"shellspawn/spawnsock/dial"
)

// ErrInUse says that another process listens on the path, or is about to.
// Errors that match it are of type *InUseError.
var ErrInUse = errors.New("address already in use")

// ErrQueueFull says that a server listens, and that its accept queue had no
// place for the client until the client's time was up.
var ErrQueueFull = dial.ErrQueueFull

// InUseError tells who listens on a path. It matches ErrInUse.
type InUseError struct {
	PID int // the other process; 0 if it could not be found out
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return ErrInUse.Error() + " by another process"
	}
	return fmt.Sprintf("%v by pid %d", ErrInUse, e.PID)
}

// Is matches ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// Options says how to listen. The zero value is a socket for its owner alone
// with the longest accept queue the kernel grants.
type Options struct {
	// Backlog is the length of the accept queue to ask for, listen(2). Zero or
	// less asks for as much as the kernel allows.
	Backlog int

	// Mode is the permission bits of the socket file, whatever the umask; to
	// connect takes write permission, unix(7). Zero means 0600.
	Mode fs.FileMode

	// Group is the group id of the socket file. Nil leaves the one that the file
	// system gives to new files.
	Group *int

	// TrustDir skips the check that nobody else may write to the directory of
	// the socket, and so could put another socket in its place.
	TrustDir bool
}

// Depth is the state of an accept queue.
type Depth struct {
	Now   int // clients that wait to be accepted
	Peak  int // the most that were seen waiting, the accepted one included
	Limit int // the effective backlog; the kernel lets in one client more
}

// Cred is who is at the other end of a connection, as it was when the peer
// called connect (or, seen from the client, when the server called listen).
type Cred struct {
	PID      int // 0 if the peer is not visible from this pid namespace
	UID, GID uint32
}
