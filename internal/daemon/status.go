package daemon

import (
	"maps"
	"os"
	"time"

	"shellspawn/internal/wire"
	"shellspawn/spawnsock"
)

// controlStatus tells how the daemon and the socket that was asked through are
// doing.
func (cn *conn) controlStatus([]string) error {
	d := cn.daemon
	status := wire.Status{
		Version: d.config.Version, PID: os.Getpid(),
		UptimeSeconds: int64(time.Since(d.start) / time.Second),
		AcceptErrors:  d.server.Stats().AcceptErrors,
	}
	if status.AcceptErrors == nil {
		status.AcceptErrors = map[string]uint64{} // no key of the answer is ever null
	}
	if l := cn.listener(); l != nil {
		status.Socket = l.Path()
		status.Backlog = backlogOf(l)
		depth, _ := l.Queue() // where the kernel cannot be asked the depth stays 0
		status.Queue.Now, status.Queue.Peak = depth.Now, depth.Peak
	}
	d.mu.Lock()
	status.Queue.Waited = d.waited
	status.Queue.LongestWaitSeconds = float64(d.longestWait) / 1000
	status.Shells = wire.Shells{Running: len(d.shells), Total: d.total, Refused: maps.Clone(d.refused)}
	d.mu.Unlock()
	return cn.reply(status)
}

func backlogOf(l *spawnsock.Listener) wire.Backlog {
	asked, effective := l.Backlog()
	somaxconn, _ := spawnsock.Somaxconn() // 0 says that it cannot be read
	return wire.Backlog{Asked: asked, Effective: effective, Somaxconn: somaxconn}
}

// listener is the one whose socket the client connected to, or nil if the daemon
// was handed a connection. Its own socket may have been bound under another
// name (see spawnsock), so with one listener there is nothing to compare.
func (cn *conn) listener() *spawnsock.Listener {
	all := cn.daemon.listeners
	for _, l := range all {
		if l.Path() == cn.unix.LocalAddr().String() {
			return l
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}
