// Package userdb says who a user is: name, numbers, home, shell and groups.
//
// A static binary has no libc to ask, so the package reads the passwd and group
// files itself and runs getent(1) where they do not know the answer; getent is
// linked against the system's libc and so reaches LDAP, sssd and whatever else
// nsswitch.conf(5) names. What is allowed to whom, and what to do with a number
// that has no name, is for the caller to decide.
//
//	var db userdb.DB
//	u, err := db.ByUID(1000)
//	if errors.Is(err, userdb.ErrUnknown) { … }
//	gids, err := db.Groups(u)
package userdb

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ErrUnknown says that no source knows the user or the group. Every look-up
// that could be carried out and found nothing returns an error that wraps it.
var ErrUnknown = errors.New("unknown")

// User is one entry of the user database.
type User struct {
	Name  string
	Home  string // "/" where the entry has none
	Shell string // "/bin/sh" where the entry has none, as in passwd(5)
	UID   uint32
	GID   uint32 // the primary group
}

// DB looks users and groups up. The zero value is ready and uses the files in
// /etc; the fields must not change after the first look-up. All methods may be
// called from any number of goroutines.
//
// The files are kept parsed in memory. Each look-up asks fstatat(2) whether
// they changed and reads them again only then, so an edit counts from the next
// look-up on. Answers of getent are kept for a few seconds, "not found" too.
type DB struct {
	PasswdFile string        // default /etc/passwd
	GroupFile  string        // default /etc/group
	SwitchFile string        // default /etc/nsswitch.conf
	Getent     string        // program to run; default: getent in the usual directories
	Timeout    time.Duration // for one run of getent; default 5 s

	passwd   cachedFile[passwdTable]
	group    cachedFile[groupTable]
	services cachedFile[bool]
	remote   answers
}

// ByUID returns the user with that number. It may block for Timeout, and only
// if the passwd file does not know the number. An error that is not ErrUnknown
// means that the question could not be answered.
func (db *DB) ByUID(uid uint32) (User, error) {
	table, err := db.passwd.load(orDefault(db.PasswdFile, "/etc/passwd"), parsePasswd)
	if err != nil {
		return User{}, err
	}
	if u, ok := table.byUID[uid]; ok {
		return u, nil
	}
	key := fmt.Sprint(uid)
	if uid == math.MaxUint32 { // (uid_t)-1 is "no change" to setresuid(2), never a user
		return User{}, unknown("user", key)
	}
	out, err := db.ask("passwd", key)
	if err != nil {
		return User{}, err
	}
	if u, ok := parsePasswd(out).byUID[uid]; ok {
		return u, nil
	}
	return User{}, unknown("user", key)
}

// ByName returns the user of that name. A name made of digits is a name here,
// not a number. A directory service may know a user under several spellings;
// the result then has the one that it prefers. Blocking and errors are as in
// ByUID.
func (db *DB) ByName(name string) (User, error) {
	table, err := db.passwd.load(orDefault(db.PasswdFile, "/etc/passwd"), parsePasswd)
	if err != nil {
		return User{}, err
	}
	if u, ok := table.byName[name]; ok {
		return u, nil
	}
	if !askable(name) {
		return User{}, unknown("user", name)
	}
	out, err := db.ask("passwd", name)
	if err != nil {
		return User{}, err
	}
	found := parsePasswd(out)
	if u, ok := found.byName[name]; ok {
		return u, nil
	}
	if found.first.Name == "" || looksNumeric(name) {
		return User{}, unknown("user", name)
	}
	return found.first, nil
}

// GroupByName returns the number of the group of that name, under the same
// rules as ByName.
func (db *DB) GroupByName(name string) (uint32, error) {
	table, err := db.group.load(orDefault(db.GroupFile, "/etc/group"), parseGroup)
	if err != nil {
		return 0, err
	}
	if gid, ok := table.byName[name]; ok {
		return gid, nil
	}
	if !askable(name) {
		return 0, unknown("group", name)
	}
	out, err := db.ask("group", name)
	if err != nil {
		return 0, err
	}
	found := parseGroup(out)
	if gid, ok := found.byName[name]; ok {
		return gid, nil
	}
	if len(found.order) == 0 || looksNumeric(name) {
		return 0, unknown("group", name)
	}
	return found.byName[found.order[0]], nil
}

// Groups returns every group u belongs to, each once, the primary one first:
// what initgroups(3) would set. The caller owns the slice.
//
// Beside the group file getent is asked if nsswitch.conf names a further
// service for groups. For a user whom the passwd file knows, a service that
// does not answer costs only the groups it would have added; for all others it
// is an error. Root's groups come from the file alone, so that root gets in
// while a directory server is down.
func (db *DB) Groups(u User) ([]uint32, error) {
	table, err := db.group.load(orDefault(db.GroupFile, "/etc/group"), parseGroup)
	if err != nil {
		return nil, err
	}
	gids := append([]uint32{u.GID}, table.members[u.Name]...)
	local, err := db.isLocal(u)
	if err != nil {
		return nil, err
	}
	if !local || (u.UID != 0 && db.hasGroupService()) {
		more, err := db.askGroups(u.Name)
		if err != nil && !local && !errors.Is(err, ErrUnknown) {
			return nil, err
		}
		gids = append(gids, more...)
	}
	return distinct(gids), nil
}

// isLocal reports whether the passwd file holds u.
func (db *DB) isLocal(u User) (bool, error) {
	table, err := db.passwd.load(orDefault(db.PasswdFile, "/etc/passwd"), parsePasswd)
	if err != nil {
		return false, err
	}
	_, ok := table.byName[u.Name]
	return ok, nil
}

// hasGroupService reports whether nsswitch.conf names a source of groups other
// than the files. A missing or unreadable file names none.
func (db *DB) hasGroupService() bool {
	has, err := db.services.load(orDefault(db.SwitchFile, "/etc/nsswitch.conf"), parseSwitch)
	return err == nil && has
}

// distinct drops repeated numbers and keeps the order of the rest.
func distinct(gids []uint32) []uint32 {
	kept := gids[:0]
	for _, gid := range gids {
		if !slices.Contains(kept, gid) {
			kept = append(kept, gid)
		}
	}
	return kept
}

// looksNumeric reports whether getent would take key for a number: it converts
// with strtoul(3), which skips white space and one sign first.
func looksNumeric(key string) bool {
	key = strings.TrimLeft(key, " \t\n\v\f\r")
	key = strings.TrimLeft(key, "+-")
	return key != "" && strings.Trim(key, "0123456789") == ""
}

func unknown(kind, key string) error {
	return fmt.Errorf("%s %q: %w", kind, key, ErrUnknown)
}

func orDefault(path, standard string) string {
	if path == "" {
		return standard
	}
	return path
}
