package daemon

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"shellspawn/internal/userdb"
	"shellspawn/spawnsock"
)

// policy says who is served at all.
type policy struct {
	daemon   *Daemon
	everyone bool
	users    []uint32
	groups   []uint32
}

// newPolicy resolves the names at once, so that a misspelt one is found at the start.
// Root and the daemon's own user are always served.
func newPolicy(d *Daemon, allowUsers, allowGroups []string) (policy, error) {
	p := policy{daemon: d, users: []uint32{0, d.euid}}
	if d.euid != 0 && len(allowUsers)+len(allowGroups) > 0 {
		return p, errors.New("--allow-user, --allow-group: a daemon that is not run by root serves its own user only")
	}
	for _, name := range allowUsers {
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
	for _, name := range allowGroups {
		if name == "*" {
			p.everyone = true
			continue
		}
		gid, err := d.groupID(name)
		if err != nil {
			return p, fmt.Errorf("--allow-group %s: %w", name, err)
		}
		p.groups = append(p.groups, gid)
	}
	return p, nil
}

// noID is (uid_t)-1. To setresuid(2) and setresgid(2) it means "no change", and
// the kernel gives it for a peer that it does not know.
const noID = math.MaxUint32

// parseID reads a user or group number.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != noID
}

// userID takes a user's name or number.
func (d *Daemon) userID(name string) (uint32, error) {
	if uid, ok := parseID(name); ok {
		return uid, nil
	}
	u, err := d.users.ByName(name)
	if errors.Is(err, userdb.ErrUnknown) {
		err = errors.New("no such user")
	}
	return u.UID, err
}

// groupID takes a group's name or number.
func (d *Daemon) groupID(group string) (uint32, error) {
	if gid, ok := parseID(group); ok {
		return gid, nil
	}
	gid, err := d.users.GroupByName(group)
	if errors.Is(err, userdb.ErrUnknown) {
		err = errors.New("no such group")
	}
	return gid, err
}

// knows reports whether the peer is served by what the kernel says of it alone,
// which takes no time. Groups are those that the peer had when it connected.
func (p *policy) knows(cn *conn) bool {
	c := cn.cred
	if c.UID == noID {
		return false
	}
	if p.everyone || slices.Contains(p.users, c.UID) || slices.Contains(p.groups, c.GID) {
		return true
	}
	if len(p.groups) == 0 {
		return false
	}
	groups, err := spawnsock.PeerGroups(cn.unix)
	return err == nil && p.listed(groups)
}

// turnsOf returns whose turns a peer takes, see turns: everybody his own, and all those
// together who are perhaps not served.
func (p *policy) turnsOf(cn *conn) uint32 {
	if p.knows(cn) {
		return cn.cred.UID
	}
	return noID
}

func (p *policy) listed(groups []uint32) bool {
	return slices.ContainsFunc(groups, func(g uint32) bool { return slices.Contains(p.groups, g) })
}

// admit refuses peers that are not served. Somebody who has become a member of
// a group since he logged in is found in the user database; of a user whom that
// does not know, only the kernel can tell the groups.
func (p *policy) admit(cn *conn) error {
	if p.knows(cn) {
		return nil
	}
	uid := strconv.FormatUint(uint64(cn.cred.UID), 10)
	if len(p.groups) > 0 && cn.cred.UID != noID {
		u, err := p.daemon.users.ByUID(cn.cred.UID)
		var groups []uint32
		if err == nil {
			groups, err = p.daemon.users.Groups(u)
		}
		if err == nil && p.listed(groups) {
			return nil
		}
		if err != nil && !errors.Is(err, userdb.ErrUnknown) {
			return refuse("policy", "groups of uid "+uid+": "+err.Error(), "")
		}
	}
	return refuse("policy", "uid "+uid+": not allowed to use this daemon", p.hint())
}

// hint says how somebody who is not served could be.
func (p *policy) hint() string {
	if p.daemon.euid == 0 {
		return "it serves root and whom its --allow-user and --allow-group name"
	}
	return "it serves root and the user that runs it; run one of your own with 'shellspawn serve --background'"
}
