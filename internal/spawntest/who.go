package spawntest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Who is the identity that a daemon or a client runs with.
type Who struct {
	Name string
	UID  int
	GID  int
}

// Self is the identity of the test itself.
func Self() Who {
	name := "user"
	if os.Getuid() == 0 {
		name = "root"
	}
	return Who{Name: name, UID: os.Getuid(), GID: os.Getgid()}
}

// Ordinary is a user without any rights. Only root can start programs as this
// user; for anybody else it is Self, who is ordinary already.
func Ordinary() Who {
	if os.Getuid() != 0 {
		return Self()
	}
	return Who{Name: "user", UID: 65534, GID: 65534}
}

// EachUser runs a test once as root and once as an ordinary user, or, where the
// tests themselves are not run by root, once as the user they are run by.
func EachUser(t *testing.T, test func(t *testing.T, who Who)) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Run("root", func(t *testing.T) { test(t, Self()) })
	}
	t.Run("user", func(t *testing.T) { test(t, Ordinary()) })
}

// NeedRoot skips a test that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// As makes cmd run as who, without supplementary groups. It changes nothing
// where who is the test's own user.
func (who Who) As(cmd *exec.Cmd) *exec.Cmd {
	if who.UID == os.Getuid() {
		return cmd
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID)}
	return cmd
}

// TempDir makes a directory that belongs to who and that only who may enter.
// Its path is short enough for a socket, and it is gone after the test.
func (who Who) TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(programDir(t), "ss")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a leftover harms no test
	if who.UID != os.Getuid() {
		if err := os.Chown(dir, who.UID, who.GID); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
