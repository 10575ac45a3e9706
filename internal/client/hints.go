package client

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock/dial"
)

// failure says why there is no connection, and what to do about it.
func (s *search) failure(path string, err error) *failure {
	f := fail(err.Error())
	switch {
	case errors.Is(err, dial.ErrQueueFull):
		f.text += ", waited " + s.options.ConnectTimeout.String()
		f.hint = "the daemon hangs, or does not keep up: 'ss -xl' shows its queue, and its --backlog, up to net.core.somaxconn, makes it longer"
	case absent(err) && !isSocket(path):
		f.hint = path + " is a file or directory and no socket; name that of the daemon"
	case absent(err):
		f.hint = s.absentHint(path)
		if s.options.Wait {
			f.text += ", waited " + s.options.ConnectTimeout.String()
		} else {
			f.hint += ", or use --wait"
		}
	case errors.Is(err, unix.EACCES):
		f.hint = permissionHint(path)
	}
	return f
}

// absentHint says how to get a daemon to where one was looked for.
func (s *search) absentHint(path string) string {
	const none = "no daemon is listening there"
	switch last := s.list[len(s.list)-1]; {
	case last.why == whyPrefix:
		return "the Darling container at DPREFIX does not run; start it"
	case last.why != whySystem:
		return none + "; start one with 'shellspawn serve --background --socket " + path + "'"
	case len(s.list) > 1:
		return none + " or at " + s.list[0].path + "; start your own with 'shellspawn serve --background'"
	case unix.Geteuid() == 0:
		return none + "; start it with 'shellspawn serve --background' or 'systemctl start shellspawn.socket'"
	}
	return none + "; XDG_RUNTIME_DIR is not set, so name your own daemon's socket with -S"
}

// permissionHint says what keeps the caller out.
func permissionHint(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return "a directory on the way to it is closed to you"
	}
	mode := "000" + strconv.FormatUint(uint64(st.Mode&0o777), 8)
	return "it has mode " + mode[len(mode)-4:] + ", owner " + nameOf("/etc/passwd", st.Uid) +
		" and group " + nameOf("/etc/group", st.Gid) + ", and you are " + nameOf("/etc/passwd", uint32(unix.Geteuid())) +
		"; --socket-mode and --socket-group of the daemon let others in"
}

func isSocket(path string) bool {
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
