package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

func init() { spawntest.RegisterHelper("security-ptys", ownPtys) }

// fewPtys starts the daemon with a devpts of its own that has room for n ptys.
func fewPtys(t *testing.T, n string) spawntest.Option {
	t.Helper()
	under, attr := spawntest.Under(spawntest.Helper(t, "security-ptys"), n), spawntest.Attr(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
	return func(d *spawntest.Daemon) { under(d); attr(d) }
}

// ownPtys expects to be started in a mount namespace of its own, mounts a devpts with
// room for so many ptys, and runs its other arguments.
func ownPtys(args []string) int {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,max="+args[0])
	}
	if err == nil {
		err = unix.Mount("/dev/pts/ptmx", "/dev/ptmx", "", unix.MS_BIND, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	return execute(args[1:])
}

// taskGroup is a control group with the pids controller, of either version.
type taskGroup struct{ dir string }

// pidsGroup makes a control group for the test.
func pidsGroup(t *testing.T) taskGroup {
	t.Helper()
	for _, parent := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := filepath.Join(parent, "shellspawn-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // empty by then
		if _, err := os.Stat(filepath.Join(dir, "pids.max")); err == nil {
			return taskGroup{dir}
		}
	}
	t.Skip("needs root that may make a control group with the pids controller")
	return taskGroup{}
}

func (g taskGroup) write(t *testing.T, file, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (g taskGroup) add(t *testing.T, pid int) { g.write(t, "cgroup.procs", strconv.Itoa(pid)) }

func (g taskGroup) limit(t *testing.T, n string) { g.write(t, "pids.max", n) }

// remove moves the daemon and its children out, so that the group can go.
func (g taskGroup) remove(t *testing.T, d *spawntest.Daemon) {
	t.Helper()
	procs, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		err := os.WriteFile(filepath.Join(filepath.Dir(g.dir), "cgroup.procs"), []byte(pid), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
	}
}
