//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForegroundOf(t *testing.T) { // B6
	for _, c := range []struct {
		name, stat string
		want       int
	}{
		{"plain", "12 (sh) S 1 12 12 34816 77 4194304 0\n", 77},
		{"parentheses and spaces in the name", "12 (a) R 1 2) 3 (b) S 1 12 12 34816 77 4194304 0\n", 77},
		{"newline in the name", "12 (a\n9 9 9 9 9 9 9) S 1 12 12 34816 77 4194304 0\n", 77},
		{"no terminal", "12 (sh) S 1 12 12 0 -1 4194304 0\n", -1},
		{"cut short", "12 (sh) S 1 12", -1},
		{"empty", "", -1},
		{"not a number", "12 (sh) S 1 12 12 34816 x 4194304 0\n", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := foregroundOf([]byte(c.stat)); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestExitStatusFromSiginfo(t *testing.T) {
	for _, c := range []struct {
		name string
		info childInfo
		want ExitStatus
	}{
		{"exit 0", childInfo{code: codeExited}, 0},
		{"exit 255", childInfo{code: codeExited, status: 255}, 0xff00},
		{"killed", childInfo{code: 2, status: 9}, 9},
		{"dumped", childInfo{code: codeDumped, status: 11}, 0x8b},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.info.exitStatus(); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

// TestOrder reads the child's list: the identity changes in the one safe order,
// after what needs our rights and before what the user's rights decide.
func TestOrder(t *testing.T) { // E1
	s := Spec{Program: "x", Dir: "/", Umask: new(0), Credential: &Credential{}, Terminal: &Terminal{}}
	p := newPlan(&s, &descriptors{stdio: [3]int{7, 7, 7}, terminal: 7})
	var got []uintptr
	for _, st := range p.steps {
		if st.nr != unix.SYS_RT_SIGACTION && st.nr != unix.SYS_PRLIMIT64 {
			got = append(got, st.nr)
		}
		if st.pass != require && st.nr != unix.SYS_EXECVE {
			t.Errorf("%s may fail unnoticed", stepName(st.nr))
		}
	}
	want := []uintptr{
		unix.SYS_SETSID, unix.SYS_UMASK,
		unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID, unix.SYS_CHDIR,
		unix.SYS_DUP3, unix.SYS_DUP3, unix.SYS_DUP3, unix.SYS_IOCTL,
		unix.SYS_CLOSE_RANGE, unix.SYS_RT_SIGPROCMASK,
		unix.SYS_EXECVE, unix.SYS_EXECVE, unix.SYS_EXECVE,
	}
	got = slices.DeleteFunc(got, func(nr uintptr) bool {
		return oomScored() && (nr == unix.SYS_CLOSE || nr == unix.SYS_OPENAT || nr == unix.SYS_WRITE)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestMaskRestored: a thread that has cloned takes signals again.
func TestMaskRestored(t *testing.T) {
	for _, program := range []string{"true", "/nonexistent"} {
		if p, err := Start(context.Background(), Spec{Program: program}); err == nil {
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := exec.Command("/bin/sh", "-c", "cat /proc/$PPID/task/*/status | grep '^SigBlk' | sort -u").Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != "SigBlk:\t0000000000000000" {
		t.Errorf("%v %s", err, got)
	}
}

// TestWaitWithoutPoller: where the poller does not take the pidfd, Wait works
// nevertheless. A regular file stands in for a descriptor it refuses.
func TestWaitWithoutPoller(t *testing.T) {
	s := Spec{Program: "/bin/sh", Args: []string{"sh", "-c", "exit 5"}}
	p, err := Start(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := p.file
	defer pidfd.Close()
	if p.file, err = os.CreateTemp(t.TempDir(), ""); err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); status.Shell() != 5 || err != nil {
		t.Error(status, err)
	}
}

// TestStolenStatus: if other code reaps the child, Wait says so.
func TestStolenStatus(t *testing.T) {
	p, err := Start(context.Background(), Spec{Program: "true"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(p.PID(), nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err == nil || err.Error() != "waitid: "+syscall.ECHILD.Error() {
		t.Errorf("error %v", err)
	}
	if len(family.running) != 0 || len(family.starting) != 0 {
		t.Errorf("left over: %v", &family)
	}
}

func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name     string
		terminal *Terminal
	}{{"pipes", nil}, {"pty", &Terminal{}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			s := Spec{Program: "/bin/true", Terminal: c.terminal, Env: os.Environ()}
			for b.Loop() {
				p, err := Start(context.Background(), s)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
