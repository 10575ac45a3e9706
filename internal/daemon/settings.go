package daemon

import (
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Settings are those parts of the configuration that can change while the daemon
// runs, see Reload. They count for what begins after that: a shell that runs over
// a lowered limit goes on, and no client is sent away in the middle of a request.
type Settings struct {
	Backlog int
	// Shell is run in place of each user's own; empty for that.
	Shell            string
	AllowUsers       []string
	AllowGroups      []string
	MaxShells        int
	MaxShellsPerUser int
	// RequestTimeout bounds the time from accept to exec.
	RequestTimeout time.Duration
	HangupGrace    time.Duration
	ShutdownGrace  time.Duration
	// LogFile is where the log is written, or empty for standard error. One
	// cannot take the place of the other while the daemon runs.
	LogFile  string
	LogLevel slog.Level
}

// setting is one of the settings under the name of its flag.
type setting struct{ name, value string }

// list returns the settings in the order of the manual.
func (s *Settings) list() []setting {
	return []setting{
		{"backlog", strconv.Itoa(s.Backlog)},
		{"shell", s.Shell},
		{"allow-user", strings.Join(s.AllowUsers, ",")},
		{"allow-group", strings.Join(s.AllowGroups, ",")},
		{"max-shells", strconv.Itoa(s.MaxShells)},
		{"max-shells-per-user", strconv.Itoa(s.MaxShellsPerUser)},
		{"request-timeout", s.RequestTimeout.String()},
		{"hangup-grace", s.HangupGrace.String()},
		{"shutdown-grace", s.ShutdownGrace.String()},
		{"log-file", s.LogFile},
		{"log-level", strings.ToLower(s.LogLevel.String())},
	}
}

// changes returns what a log line says of the way from s to next.
func (s *Settings) changes(next *Settings) (attrs []any) {
	after := next.list()
	for i, before := range s.list() {
		if now := after[i].value; now != before.value {
			attrs = append(attrs, slog.Group(before.name, "was", before.value, "now", now))
		}
	}
	return attrs
}

// force is what is in force: the settings, and what follows from them. It is
// replaced as a whole, never changed.
type force struct {
	Settings
	policy policy
}

// now returns what is in force. Who needs two things that must fit together calls
// it once.
func (d *Daemon) now() *force { return d.inForce.Load() }

// prepare looks up whom the settings name, which may ask the user database.
func (d *Daemon) prepare(s Settings) (*force, error) {
	p, err := newPolicy(d, s.AllowUsers, s.AllowGroups)
	if err != nil {
		return nil, err
	}
	return &force{Settings: s, policy: p}, nil
}
