package daemon

import (
	"cmp"
	"slices"
	"time"

	"shellspawn/internal/wire"
)

// controlList lists the shells that are the peer's business, in the order in
// which they were started.
func (cn *conn) controlList([]string) error {
	rows := []wire.Row{} // none is an empty list, not null
	for _, s := range cn.daemon.running() {
		if cn.owns(s) {
			rows = append(rows, s.row())
		}
	}
	slices.SortFunc(rows, func(a, b wire.Row) int { return cmp.Compare(a.ID, b.ID) })
	return cn.reply(rows)
}

// running returns the shells of this moment.
func (d *Daemon) running() []*shell {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*shell, 0, len(d.shells))
	for _, s := range d.shells {
		all = append(all, s)
	}
	return all
}

func (s *shell) row() wire.Row {
	return wire.Row{
		ID: s.id, User: s.user.Name, UID: s.user.UID, PID: s.process.PID(),
		TTY: s.process.TTY(), Program: s.program,
		AgeSeconds: int64(time.Since(s.started) / time.Second),
		ClientPID:  s.client.PID, State: s.state(),
	}
}

func (s *shell) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != wire.CauseExited {
		return "ending"
	}
	return "running"
}
