package daemon

import (
	"time"

	"shellspawn/internal/systemd"
)

// Supervisor is what a service manager gave to this process: sockets, a place for
// notifications, a watchdog, a journal to log to.
type Supervisor struct {
	sockets  []systemd.Socket
	notifier *systemd.Notifier
	watchdog time.Duration
	journal  bool
}

func noSupervisor() *Supervisor { return &Supervisor{notifier: &systemd.Notifier{}} }

// FindSupervisor reads what the environment says of a service manager, and then
// takes it out of there. Call it once, before anything opens descriptors. An
// error means that the service manager was set up wrongly.
func FindSupervisor() (*Supervisor, error) {
	defer systemd.Forget()
	s := noSupervisor()
	var err error
	if s.sockets, err = systemd.Sockets(); err != nil {
		return nil, err
	}
	if s.notifier, err = systemd.NewNotifier(); err != nil {
		return nil, err
	}
	if s.watchdog, err = systemd.WatchdogInterval(); err != nil {
		return nil, err
	}
	s.journal = systemd.JournalStream()
	return s, nil
}

// Sockets is how many sockets were passed. The daemon opens none of its own if
// there are any.
func (s *Supervisor) Sockets() int { return len(s.sockets) }

// Journal says that standard error is the journal.
func (s *Supervisor) Journal() bool { return s.journal }
