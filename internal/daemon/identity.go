package daemon

import (
	"errors"
	"strconv"

	"shellspawn/internal/userdb"
	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
	"shellspawn/spawnsock"
)

// identity is who a shell runs as. The credential is nil where the daemon has
// just that identity itself and could have no other.
type identity struct {
	user       userdb.User
	credential *ptyexec.Credential
}

// identity decides it by the peer's credentials alone; name is another user
// that only root may ask for.
func (cn *conn) identity(name string) (identity, error) {
	d := cn.daemon
	if d.euid != 0 {
		u := d.userOf(d.euid)
		if name != "" && name != u.Name {
			return identity{}, refuse("user", "user "+name+": this daemon is not run by root and serves "+u.Name+" only", "")
		}
		return identity{user: u}, nil
	}
	if name != "" {
		return cn.otherUser(name)
	}
	groups, err := spawnsock.PeerGroups(cn.unix)
	if err != nil {
		return identity{}, refuse("identity", "peer groups: "+err.Error(), "")
	}
	u := d.userOf(cn.cred.UID)
	return identity{u, &ptyexec.Credential{UID: cn.cred.UID, GID: cn.cred.GID, Groups: groups}}, nil
}

// otherUser is for root, and for those who ask for themselves by name.
func (cn *conn) otherUser(name string) (identity, error) {
	d := cn.daemon
	u, err := d.users.ByName(name)
	if err != nil {
		return identity{}, refuse("user", "user "+strconv.Quote(name)+": "+plainCause(err), "")
	}
	if cn.cred.UID != 0 && cn.cred.UID != u.UID {
		return identity{}, refuse("user", "user "+name+": only root may ask for another user", "")
	}
	groups, err := d.users.Groups(u)
	if err != nil {
		return identity{}, refuse("user", "groups of "+name+": "+plainCause(err), "")
	}
	return identity{u, &ptyexec.Credential{UID: u.UID, GID: u.GID, Groups: groups}}, nil
}

func plainCause(err error) string {
	if errors.Is(err, userdb.ErrUnknown) {
		return "no such user"
	}
	return err.Error()
}

// userOf makes do for a number that no source knows: such users exist in
// containers.
func (d *Daemon) userOf(uid uint32) userdb.User {
	u, err := d.users.ByUID(uid)
	if err != nil {
		return userdb.User{Name: strconv.Itoa(int(uid)), Home: "/", Shell: "/bin/sh", UID: uid, GID: uid}
	}
	return u
}

// groupID takes a group's name or number.
func (d *Daemon) groupID(group string) (uint32, error) {
	if n, err := strconv.ParseUint(group, 10, 32); err == nil {
		return uint32(n), nil
	}
	return d.users.GroupByName(group)
}

func versionRefusal(theirs uint16) *refusal {
	return refuse("protocol", "protocol: this daemon speaks version "+strconv.Itoa(wire.Version)+
		", the client version "+strconv.Itoa(int(theirs)), "")
}
