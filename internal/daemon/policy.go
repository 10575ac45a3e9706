package daemon

import (
	"fmt"
	"slices"
	"strconv"

	"shellspawn/spawnsock"
)

// policy says who is served at all.
type policy struct {
	daemon   *Daemon
	everyone bool
	users    []uint32
	groups   []uint32
}

// newPolicy resolves the names once, so that a misspelt one is found at start.
// Root and the daemon's own user are always served.
func newPolicy(d *Daemon) (policy, error) {
	p := policy{daemon: d, users: []uint32{0, d.euid}}
	for _, name := range d.config.AllowUsers {
		if name == "*" {
			p.everyone = true
			continue
		}
		uid, err := d.userID(name)
		if err != nil {
			return p, fmt.Errorf("--allow-user %s: %w", name, err)
		}
		p.users = append(p.users, uid)
	}
	for _, name := range d.config.AllowGroups {
		gid, err := d.groupID(name)
		if err != nil {
			return p, fmt.Errorf("--allow-group %s: %w", name, err)
		}
		p.groups = append(p.groups, gid)
	}
	if d.euid != 0 && (p.everyone || len(p.users) > 2 || len(p.groups) > 0) {
		return p, fmt.Errorf("--allow-user, --allow-group: a daemon that is not run by root serves its own user only")
	}
	return p, nil
}

// userID takes a user's name or number.
func (d *Daemon) userID(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	u, err := d.users.ByName(name)
	return u.UID, err
}

// admit refuses peers that are not served.
func (p *policy) admit(c spawnsock.Cred) error {
	if p.everyone || slices.Contains(p.users, c.UID) || slices.Contains(p.groups, c.GID) || p.memberOf(c.UID) {
		return nil
	}
	return refuse("policy", "uid "+strconv.Itoa(int(c.UID))+": not allowed to use this daemon", "")
}

// memberOf asks the user database, not the request: membership counts as it is
// now.
func (p *policy) memberOf(uid uint32) bool {
	if len(p.groups) == 0 {
		return false
	}
	groups, err := p.daemon.users.Groups(p.daemon.userOf(uid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(groups, func(g uint32) bool { return slices.Contains(p.groups, g) })
}
