package daemon

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"shellspawn/spawnsock"
)

// Reload does what SIGHUP asks for: it opens the log file again, which may have
// been renamed, reads the settings again, and sets each backlog again if it or
// net.core.somaxconn has changed. One line of the log says what was done. Of
// settings with a mistake in them none counts, and those in force stay. During a
// stop it does nothing. It blocks for as long as the user database takes.
func (d *Daemon) Reload() {
	if d.isStopping() {
		return
	}
	d.tell(d.supervisor.notifier.Reloading())
	status := d.statusText()
	facts := []any{"log", d.reopenLog()}
	before := d.now()
	next, restart, err := d.reread(before)
	if err != nil {
		d.log.Error("reload", append(facts, "settings", "unchanged", "cause", err)...)
		next, status = before, status+"; the last reload failed, see the log"
	} else {
		facts = append(facts, before.changes(&next.Settings)...)
		d.enforce(next, append(facts, restart...))
	}
	for _, l := range d.listeners {
		d.renewBacklog(l, before.Backlog, next.Backlog)
	}
	d.tell(d.supervisor.notifier.Ready(status))
}

// reopenLog says what became of the log file.
func (d *Daemon) reopenLog() string {
	if d.config.Log == nil {
		return "not a file"
	}
	d.config.LogQueue.Flush() // what was logged before belongs into the old file
	if err := d.config.Log.Open(d.now().LogFile); err != nil {
		return "not opened: " + err.Error()
	}
	return "opened again"
}

// reread returns what is to be in force from now on, and what a log line says of
// the rest. The log is in its new file then: that is the last thing that can go
// wrong.
func (d *Daemon) reread(before *force) (*force, []any, error) {
	if d.config.Reread == nil {
		return before, nil, nil
	}
	settings, fixed, err := d.config.Reread()
	if err != nil {
		return nil, nil, err
	}
	next, err := d.prepare(settings)
	if err != nil {
		return nil, nil, err
	}
	if d.config.Log != nil && next.LogFile != before.LogFile {
		if err := d.config.Log.Open(next.LogFile); err != nil {
			return nil, nil, err
		}
	}
	var facts []any
	if len(fixed) > 0 {
		facts = []any{"needs_restart", strings.Join(fixed, ",")}
	}
	return next, facts, nil
}

// enforce puts next into force and then says so, if that is of interest at the level
// of the log before or at the one after.
func (d *Daemon) enforce(next *force, facts []any) {
	wanted := d.logsInfo()
	d.inForce.Store(next)
	if d.config.Level != nil {
		d.config.Level.Set(next.LogLevel)
	}
	if !wanted && !d.logsInfo() {
		return
	}
	line := slog.NewRecord(time.Now(), slog.LevelInfo, "reload", 0)
	line.Add(facts...)
	_ = d.log.Handler().Handle(context.Background(), line) // as every line
}

func (d *Daemon) logsInfo() bool { return d.log.Enabled(context.Background(), slog.LevelInfo) }

// renewBacklog sets the backlog to now if that is another one than before, and
// otherwise asks for the same once more: somebody may have changed it with an
// order. One that a service manager gave is only raised.
func (d *Daemon) renewBacklog(l *spawnsock.Listener, before, now int) {
	asked, effective := l.Backlog()
	wanted := asked
	if now != before {
		wanted = now
	}
	granted := spawnsock.EffectiveBacklog(wanted)
	if wanted == asked && granted == effective || l.Inherited() && granted < effective {
		return
	}
	if err := l.SetBacklog(wanted); err != nil {
		d.log.Error("reload", "cause", err)
		return
	}
	b := backlogOf(l)
	d.log.Info("backlog", "path", l.Path(), "backlog", b.Asked, "before", effective,
		"effective", b.Effective, "somaxconn", b.Somaxconn)
	d.warnCut(b)
}
