// Package hint says what to try when the daemon cannot be reached. Client and
// control commands say the same.
//
// It is linked by the client, so it needs neither net nor fmt nor os/user.
package hint

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock/dial"
)

// SystemSocket is where the system's daemon listens.
const SystemSocket = "/run/shellspawn.sock"

// Absent says that nobody listens there, at least not now.
func Absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// Unreachable returns one line about an error of dial.Connect, or "" where there is
// nothing to add to it. Paths are the sockets that were tried; the error is about
// the last one. It does not block, but on the file system.
func Unreachable(paths []string, err error) string {
	path := paths[len(paths)-1]
	switch {
	case errors.Is(err, dial.ErrQueueFull):
		return "the daemon hangs, or does not keep up: 'ss -xl' shows its queue, and its --backlog, up to net.core.somaxconn, makes it longer"
	case Absent(err) && !maybeSocket(path):
		return path + " is a file or directory and no socket; name that of the daemon"
	case Absent(err):
		return absent(paths)
	case errors.Is(err, unix.EACCES):
		return permission(path)
	}
	return ""
}

// absent says how to get a daemon to where one was looked for.
func absent(paths []string) string {
	const none = "no daemon is listening there"
	path := paths[len(paths)-1]
	switch {
	case len(paths) > 1:
		return none + " or at " + paths[0] + "; start your own with 'shellspawn serve --background'"
	case path != SystemSocket:
		return none + "; start one with 'shellspawn serve --background --socket " + path + "'"
	case unix.Geteuid() == 0:
		return none + "; start it with 'shellspawn serve --background' or 'systemctl start shellspawn.socket'"
	}
	return none + "; XDG_RUNTIME_DIR is not set, so name your own daemon's with --socket"
}

// permission says what keeps the caller out.
func permission(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return "a directory on the way to it is closed to you"
	}
	mode := "000" + strconv.FormatUint(uint64(st.Mode&0o777), 8)
	return "it has mode " + mode[len(mode)-4:] + ", owner " + nameOf("/etc/passwd", st.Uid) +
		" and group " + nameOf("/etc/group", st.Gid) + ", and you are " + nameOf("/etc/passwd", uint32(unix.Geteuid())) +
		"; --socket-mode and --socket-group of the daemon let others in"
}

// maybeSocket is true also for what cannot be looked at.
func maybeSocket(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

// nameOf looks a user or group up in its file. Who is not there has a number only.
func nameOf(file string, id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	text, _ := os.ReadFile(file) // without it the number has to do
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == number {
			return f[0]
		}
	}
	return number
}
