package daemon

import (
	"errors"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"shellspawn/internal/userdb"
	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
	"shellspawn/spawnsock"
)

// identity is who a shell runs as. The credential is nil where the daemon has
// just that identity itself and so nothing is to change.
type identity struct {
	user       userdb.User
	credential *ptyexec.Credential
}

// identity decides it by the peer's credentials alone; name is another user
// that only root may ask for. A daemon that is not run by root could not become
// anybody else, so whom it serves, root too, gets a shell of its own user.
func (cn *conn) identity(name string) (identity, error) {
	d := cn.daemon
	if d.euid != 0 {
		u, err := d.userOf(d.euid)
		if err != nil {
			return identity{}, err
		}
		if name != "" && !names(name, u) {
			return identity{}, refuse("user", "user "+strconv.Quote(name)+": this daemon is not run by root and serves user "+strconv.Quote(u.Name)+" only", "")
		}
		return identity{user: u}, nil
	}
	if name == "" {
		return cn.peer()
	}
	if cn.cred.UID == 0 {
		return cn.otherUser(name)
	}
	// Somebody who asks for himself gets what he has, not what the user database
	// would give him: he may have dropped groups on purpose. Others' names are not
	// looked up for him.
	if who, err := cn.peer(); err != nil || names(name, who.user) {
		return who, err
	}
	return identity{}, refuse("user", "user "+strconv.Quote(name)+": only root may ask for another user", "")
}

// names reports whether name is how one asks for u: by name or by number.
func names(name string, u userdb.User) bool {
	uid, ok := parseID(name)
	return name == u.Name || ok && uid == u.UID
}

// peer is the one who connected, with the groups that he has.
func (cn *conn) peer() (identity, error) {
	groups, err := spawnsock.PeerGroups(cn.unix)
	if err != nil {
		return identity{}, refuse("identity", "peer groups: "+err.Error(), "")
	}
	u, err := cn.daemon.userOf(cn.cred.UID)
	if err != nil {
		return identity{}, err
	}
	return cn.daemon.become(u, cn.cred.GID, groups)
}

// otherUser is for root. A number that no source knows is nobody that one could
// become, as nothing says with which group.
func (cn *conn) otherUser(name string) (identity, error) {
	d := cn.daemon
	u, err := d.users.ByName(name)
	if uid, ok := parseID(name); ok && errors.Is(err, userdb.ErrUnknown) {
		u, err = d.users.ByUID(uid)
	}
	if err != nil {
		return identity{}, unknownUser("user "+strconv.Quote(name), err)
	}
	groups, err := d.users.Groups(u)
	if err != nil {
		return identity{}, unknownUser("groups of "+strconv.Quote(name), err)
	}
	return d.become(u, u.GID, groups)
}

func unknownUser(object string, err error) *refusal {
	if errors.Is(err, userdb.ErrUnknown) {
		return refuse("user", object+": no such user", "")
	}
	return refuse("user", object+": "+err.Error(), userdbHint)
}

// become is the one place where the numbers for a shell are put together.
func (d *Daemon) become(u userdb.User, gid uint32, groups []uint32) (identity, error) {
	if u.UID == noID || gid == noID || slices.Contains(groups, noID) {
		return identity{}, refuse("identity", "user "+strconv.Quote(u.Name)+": (uid_t)-1 and (gid_t)-1 are nobody", "")
	}
	if d.hasIdentity(u.UID, gid, groups) {
		return identity{user: u}, nil
	}
	return identity{u, &ptyexec.Credential{UID: u.UID, GID: gid, Groups: groups}}, nil
}

// hasIdentity reports whether all of it is the daemon's own already. Then it is
// left alone: in a user namespace setgroups(2) may be denied, and there is
// nothing to set.
func (d *Daemon) hasIdentity(uid, gid uint32, groups []uint32) bool {
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	same := func(a, b, c int, id uint32) bool { return uint32(a) == id && a == b && b == c }
	if !same(ruid, euid, suid, uid) || !same(rgid, egid, sgid, gid) {
		return false
	}
	own, err := syscall.Getgroups()
	if err != nil || len(own) != len(groups) {
		return false
	}
	return !slices.ContainsFunc(own, func(g int) bool { return !slices.Contains(groups, uint32(g)) })
}

// userOf makes do for a number that no source knows: such users exist in
// containers. Its group is that of nobody, as it is not known. A source that does not
// answer is another matter: who is known to it must not get a shell that has nothing
// of his but the number. The error is a refusal.
func (d *Daemon) userOf(uid uint32) (userdb.User, error) {
	u, err := d.users.ByUID(uid)
	switch {
	case err == nil:
		return u, nil
	case errors.Is(err, userdb.ErrUnknown):
		return userdb.User{Name: strconv.FormatUint(uint64(uid), 10), Home: "/", Shell: "/bin/sh", UID: uid, GID: noID}, nil
	}
	return u, unknownUser("user "+strconv.FormatUint(uint64(uid), 10), err)
}

const userdbHint = "the user database of the daemon's machine does not answer; try 'getent passwd' there"

func versionRefusal(theirs uint16) *refusal {
	hint := "the client is older than the daemon; use one of the same release"
	if theirs > wire.Version {
		hint = "the daemon is older than the client; after an upgrade start it anew"
	}
	return refuse("protocol", "protocol: this daemon speaks version "+strconv.Itoa(wire.Version)+
		", the client version "+strconv.Itoa(int(theirs)), hint)
}
