package doctor

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock"
)

// maxName is the longest path that fits the address of a Unix socket, unix(7).
const maxName = 107

// choose takes the first path at which there is anything.
func choose(paths []string) string {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	if len(paths) == 0 {
		return ""
	}
	return paths[0]
}

// place looks at the file of the socket.
func (p *patient) place() Finding {
	const check = "socket"
	var st unix.Stat_t
	switch err := unix.Lstat(p.socket, &st); {
	case err == unix.ENOENT:
		return fail(check, p.socket+": not there", "start the daemon")
	case err != nil:
		return fail(check, p.socket+": "+err.Error(), "")
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fail(check, p.socket+": not a socket", "move it away, or listen somewhere else")
	case p.status == nil && unix.Access(p.socket, unix.W_OK) == nil:
		return fail(check, p.socket+": nobody answers there", "if no daemon runs it is stale, and the next one replaces it")
	}
	text := fmt.Sprintf("%s, mode %04o, uid %d, gid %d", p.socket, st.Mode&0o7777, st.Uid, st.Gid)
	if len(p.socket) > maxName {
		return warn(check, text+fmt.Sprintf(", %d bytes", len(p.socket)),
			fmt.Sprintf("our own programs reach it, others only paths of up to %d bytes", maxName))
	}
	return fine(check, "%s", text)
}

// directory looks whether somebody could put another socket in the place of ours.
func (p *patient) directory() Finding {
	const check = "directory"
	dir := filepath.Dir(p.socket)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fail(check, dir+": "+err.Error(), "make it")
	}
	text := fmt.Sprintf("%s, mode %04o, uid %d", dir, st.Mode&0o7777, st.Uid)
	sticky := st.Mode&unix.S_ISVTX != 0 && st.Uid == 0
	switch {
	case st.Mode&0o022 != 0 && !sticky:
		return fail(check, text+": others may write there and replace the socket", "a daemon refuses it; 'chmod go-w "+dir+"'")
	case st.Uid != 0 && st.Uid != uint32(unix.Geteuid()):
		return warn(check, text+": its owner may replace the socket", "use it only if that is the user of the daemon")
	}
	return fine(check, "%s", text)
}

// backlog compares what is wanted with what the kernel grants.
func (p *patient) backlog() Finding {
	const check = "backlog"
	want := usualBacklog
	if p.status != nil {
		want = p.status.Backlog.Asked
	}
	most, err := spawnsock.Somaxconn()
	if err != nil {
		return fail(check, err.Error(), "mount /proc")
	}
	if want > most {
		return warn(check, fmt.Sprintf("%d asked for, but net.core.somaxconn is %d", want, most),
			fmt.Sprintf("'sysctl -w net.core.somaxconn=%d', then 'shellspawn backlog %d'", want, want))
	}
	if p.status != nil && p.status.Backlog.Effective < want {
		return warn(check, fmt.Sprintf("%d in effect, %d allowed by net.core.somaxconn", p.status.Backlog.Effective, most),
			fmt.Sprintf("'shellspawn backlog %d'", want))
	}
	return fine(check, "%d, net.core.somaxconn allows %d", want, most)
}
