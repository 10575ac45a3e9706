package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"shellspawn/internal/control"
	"shellspawn/internal/wire"
)

// daemon asks for the status, like anybody.
func (p *patient) daemon() Finding {
	const check = "daemon"
	p.pid = os.Getpid()
	client := control.Client{Sockets: []string{p.socket}}
	body, err := client.Ask("status")
	var status wire.Status
	if err == nil {
		err = json.Unmarshal(body, &status)
	}
	var e *control.Error
	switch {
	case errors.As(err, &e):
		return fail(check, e.Text, e.Hint)
	case err != nil:
		return fail(check, err.Error(), "")
	}
	p.status = &status
	p.askLimits(&client)
	// The number is the daemon's own: from another pid namespace it names a stranger
	// or nobody.
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", status.PID)); err == nil && string(name) == "shellspawn\n" {
		p.pid = status.PID
	}
	shells := "shells"
	if status.Shells.Running == 1 {
		shells = "shell"
	}
	return fine(check, "pid %d answers at %s, %d %s running", status.PID, p.socket, status.Shells.Running, shells)
}

// askLimits learns for how many shells the daemon was set up.
func (p *patient) askLimits(client *control.Client) {
	var limits wire.Limits
	body, err := client.Ask("limits")
	if err != nil || json.Unmarshal(body, &limits) != nil {
		return // an older daemon
	}
	p.limits = &limits
	if limits.MaxShells > 0 {
		p.shells = limits.MaxShells
	}
}

// versions compares the two ends.
func (p *patient) versions() Finding {
	const check = "version"
	switch {
	case p.status == nil:
		return fine(check, "%s; no daemon to compare it with", p.Version)
	case p.status.Version != p.Version:
		return warn(check, fmt.Sprintf("this is %s, the daemon %s", p.Version, p.status.Version),
			"restart the daemon for the same version at both ends")
	}
	return fine(check, "%s at both ends", p.Version)
}

// whose says whose limits are told.
func (p *patient) whose() string {
	if p.status != nil && p.pid == p.status.PID {
		return "the daemon"
	}
	return "a daemon started here"
}
