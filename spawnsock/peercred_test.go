//go:build linux

package spawnsock_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"

	"golang.org/x/sys/unix"
)

func init() {
	// connect connects and waits for the end of the connection.
	helpers["connect"] = func(args []string) error {
		fd, _, err := dial.Connect(args[0], patience, false)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(os.NewFile(uintptr(fd), "connection"))
		return err
	}
}

// E1: the peer is who the kernel says, with its groups, however many.
func TestPeer(t *testing.T) {
	for _, c := range []struct {
		name     string
		uid, gid uint32
		groups   int
	}{
		{"ourselves", uint32(os.Geteuid()), uint32(os.Getegid()), -1},
		{"no groups", 54321, 54322, 0},
		{"one group", 54321, 54322, 1},
		{"32 groups", 54321, 54322, 32},
		{"33 groups", 54321, 54322, 33},
		{"as many as there may be", 54321, 54322, 65536},
	} {
		t.Run(c.name, func(t *testing.T) {
			var groups []uint32
			if c.groups < 0 {
				own, err := os.Getgroups()
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range own {
					groups = append(groups, uint32(g))
				}
			} else {
				needRoot(t)
			}
			for i := range c.groups {
				groups = append(groups, uint32(100000+i))
			}
			path := socketPath(t)
			l := listen(t, path, spawnsock.Options{Mode: 0o666})
			if err := os.Chmod(pathDir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			h := startHelper(t, func(cmd *exec.Cmd) {
				if c.groups >= 0 {
					cmd.Path = publicCopy(t)
					cmd.SysProcAttr = &syscall.SysProcAttr{
						Credential: &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: groups},
					}
				}
			}, "connect", path)
			conn, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			checkPeer(t, conn, spawnsock.Cred{PID: h.cmd.Process.Pid, UID: c.uid, GID: c.gid}, groups)
			h.kill()
			// They are those of the moment of the connect, also when it is over.
			checkPeer(t, conn, spawnsock.Cred{PID: h.cmd.Process.Pid, UID: c.uid, GID: c.gid}, groups)
			_ = conn.Close()
			if _, err := spawnsock.PeerCred(conn); !isClosed(err) {
				t.Errorf("PeerCred of a closed connection: %v", err)
			}
			if _, err := spawnsock.PeerGroups(conn); !isClosed(err) {
				t.Errorf("PeerGroups of a closed connection: %v", err)
			}
		})
	}
}

func checkPeer(t *testing.T, conn *net.UnixConn, want spawnsock.Cred, groups []uint32) {
	t.Helper()
	cred, err := spawnsock.PeerCred(conn)
	if err != nil || cred != want {
		t.Errorf("PeerCred: %+v, %v, want %+v", cred, err, want)
	}
	got, err := spawnsock.PeerGroups(conn)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(groups)
	if !slices.Equal(got, groups) {
		t.Errorf("PeerGroups: %d groups %.60s, want %d", len(got), fmt.Sprint(got), len(groups))
	}
}

func pathDir(path string) string { return path[:len(path)-len("/s")] }

// A connection that nobody accepted, one of a pair, has a peer all the same.
func TestPeerOfPair(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), strconv.Itoa(fds[0]))
	defer f.Close()
	defer unix.Close(fds[1])
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cred, err := spawnsock.PeerCred(c.(*net.UnixConn))
	if err != nil || cred.PID != os.Getpid() {
		t.Errorf("PeerCred of a pair: %+v, %v", cred, err)
	}
}
