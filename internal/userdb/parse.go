package userdb

import (
	"bytes"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// passwdTable is a parsed passwd file. Where a name or a number occurs twice
// the first line counts, as for getpwnam(3).
type passwdTable struct {
	byName map[string]User
	byUID  map[uint32]User
	first  User // the first entry; zero if there is none
}

// groupTable is a parsed group file.
type groupTable struct {
	byName  map[string]uint32
	order   []string            // the names as they come in the file
	members map[string][]uint32 // user name to the groups that list it
}

// parsePasswd reads passwd(5) lines and skips those that are not entries.
func parsePasswd(data []byte) passwdTable {
	t := passwdTable{byName: map[string]User{}, byUID: map[uint32]User{}}
	for line := range entries(data) {
		u, ok := parseUser(line)
		if !ok {
			continue
		}
		if t.first.Name == "" {
			t.first = u
		}
		if _, seen := t.byName[u.Name]; !seen {
			t.byName[u.Name] = u
		}
		if _, seen := t.byUID[u.UID]; !seen {
			t.byUID[u.UID] = u
		}
	}
	return t
}

// parseUser reads one line, name:password:uid:gid:gecos:home:shell. The fields
// after the numbers may be missing, as libc allows.
func parseUser(line string) (User, bool) {
	f := strings.SplitN(line, ":", 7)
	if len(f) < 4 || f[0] == "" {
		return User{}, false
	}
	uid, okUID := parseID(f[2])
	gid, okGID := parseID(f[3])
	if !okUID || !okGID {
		return User{}, false
	}
	u := User{Name: f[0], UID: uid, GID: gid, Home: "/", Shell: "/bin/sh"}
	if len(f) > 5 && f[5] != "" {
		u.Home = f[5]
	}
	if len(f) > 6 && f[6] != "" {
		u.Shell = f[6]
	}
	return u, true
}

// parseGroup reads group(5) lines and skips those that are not entries. A group
// may be spread over several lines, each with some of its members.
func parseGroup(data []byte) groupTable {
	t := groupTable{byName: map[string]uint32{}, members: map[string][]uint32{}}
	for line := range entries(data) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 3 || f[0] == "" {
			continue
		}
		gid, ok := parseID(f[2])
		if !ok {
			continue
		}
		if _, seen := t.byName[f[0]]; !seen {
			t.byName[f[0]] = gid
			t.order = append(t.order, f[0])
		}
		if len(f) < 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member = strings.TrimSpace(member); member != "" {
				t.members[member] = append(t.members[member], gid)
			}
		}
	}
	return t
}

// parseInitgroups reads the answer of "getent initgroups": the name that was
// asked for, then the numbers of the groups, separated by blanks.
func parseInitgroups(data []byte, name string) []uint32 {
	line, _, _ := strings.Cut(string(data), "\n")
	numbers, ok := strings.CutPrefix(line, name)
	if !ok {
		return nil
	}
	var gids []uint32
	for field := range strings.FieldsSeq(numbers) {
		if gid, ok := parseID(field); ok {
			gids = append(gids, gid)
		}
	}
	return gids
}

// parseSwitch reports whether nsswitch.conf(5) names a source of groups that is
// not the files themselves. The line "initgroups" wins over "group".
func parseSwitch(data []byte) bool {
	sources := map[string]string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if database, rest, ok := strings.Cut(line, ":"); ok {
			sources[strings.TrimSpace(database)] = rest
		}
	}
	line, ok := sources["initgroups"]
	if !ok {
		line = sources["group"]
	}
	inAction := false // between "[" and "]" stand reactions such as NOTFOUND=return
	return slices.ContainsFunc(strings.Fields(line), func(word string) bool {
		action := inAction || strings.HasPrefix(word, "[")
		inAction = action && !strings.HasSuffix(word, "]")
		return !action && word != "files" && word != "compat"
	})
}

// entries yields the lines of a passwd or group file that may be entries:
// without comments, blank lines, and the lines by which NIS once included or
// excluded users, which start with + or -. Blanks before an entry and a
// carriage return after it are dropped; a NUL, which no system call would take,
// disqualifies the line.
func entries(data []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(data) {
			line = bytes.TrimLeft(bytes.TrimRight(line, "\r\n"), " \t")
			if len(line) == 0 || bytes.IndexByte([]byte("#+-"), line[0]) >= 0 || bytes.IndexByte(line, 0) >= 0 {
				continue
			}
			if !yield(string(line)) {
				return
			}
		}
	}
}

// parseID reads a user or group number. The highest value is refused: as
// (uid_t)-1 it means "leave unchanged" to setresuid(2).
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32
}
