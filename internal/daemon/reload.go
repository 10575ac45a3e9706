package daemon

import "shellspawn/spawnsock"

// Reload does what SIGHUP asks for: it opens the log file again, which may have
// been renamed, and sets each backlog again if net.core.somaxconn has changed.
// The log says what was done. During a stop it does nothing.
func (d *Daemon) Reload() {
	if d.isStopping() {
		return
	}
	d.tell(d.supervisor.notifier.Reloading())
	log := "not a file"
	if d.config.ReopenLog != nil {
		log = "opened again"
		if err := d.config.ReopenLog(); err != nil {
			log = "not opened: " + err.Error()
		}
	}
	d.log.Info("reload", "log", log)
	for _, l := range d.listeners {
		d.renewBacklog(l)
	}
	d.tell(d.supervisor.notifier.Ready(d.statusText()))
}

// renewBacklog asks for the same backlog again. One that a service manager gave
// is only raised.
func (d *Daemon) renewBacklog(l *spawnsock.Listener) {
	asked, before := l.Backlog()
	want := spawnsock.EffectiveBacklog(asked)
	if want == before || l.Inherited() && want < before {
		return
	}
	if err := l.SetBacklog(asked); err != nil {
		d.log.Error("reload", "cause", err)
		return
	}
	b := backlogOf(l)
	d.log.Info("backlog", "path", l.Path(), "backlog", b.Asked, "before", before,
		"effective", b.Effective, "somaxconn", b.Somaxconn)
}
