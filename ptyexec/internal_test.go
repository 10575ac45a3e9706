//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

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
	s := Spec{Program: "x", Dir: "/", Umask: new(0), Credential: &Credential{UID: 1}, Terminal: &Terminal{}}
	p := newPlan(&s, &descriptors{stdio: [3]int{7, 7, 7}, terminal: 7}, &loan{conduit: &conduit{rx: 5}})
	var got []uintptr
	for _, st := range p.steps {
		if st.nr != unix.SYS_RT_SIGACTION && st.nr != unix.SYS_PRLIMIT64 {
			got = append(got, st.nr)
		}
		if st.pass != require && st.nr != unix.SYS_EXECVE && st.nr != unix.SYS_KEYCTL && st.nr != unix.SYS_PRCTL {
			t.Errorf("%s may fail unnoticed", stepName(st.nr))
		}
	}
	want := []uintptr{
		unix.SYS_SETSID,
		unix.SYS_CLOSE_RANGE, unix.SYS_CLOSE_RANGE, unix.SYS_CLOSE_RANGE, unix.SYS_RECVMSG,
		unix.SYS_PRCTL, unix.SYS_UMASK,
		unix.SYS_KEYCTL, unix.SYS_PRCTL, unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID,
		unix.SYS_PRCTL, unix.SYS_CAPSET, unix.SYS_IOCTL, unix.SYS_CLOSE_RANGE, unix.SYS_CHDIR,
		unix.SYS_RT_SIGPROCMASK,
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
	// A thread that the runtime is just making blocks all signals for a moment.
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		blocked := blockedSignals(t)
		if len(blocked) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("threads block signals: %q", blocked)
		}
	}
}

// blockedSignals returns the masks of those of our threads that block something.
func blockedSignals(t *testing.T) (masks []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // the thread may have ended
		for line := range strings.Lines(string(text)) {
			if mask, ok := strings.CutPrefix(line, "SigBlk:\t"); ok && mask != "0000000000000000\n" {
				masks = append(masks, mask)
			}
		}
	}
	return masks
}

// TestWaitWithoutPoller: where the poller does not take the pidfd, Wait works
// nevertheless. A regular file stands in for a descriptor it refuses.
func TestWaitWithoutPoller(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := Spec{Program: "/bin/sh", Args: []string{"sh", "-c", "read line; exit 5"}, Stdio: &[3]int{int(r.Fd()), -1, -1}}
	p, err := Start(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := p.file
	defer pidfd.Close()
	if p.file, err = os.CreateTemp(t.TempDir(), ""); err != nil {
		t.Fatal(err)
	}
	done := make(chan ExitStatus, 1)
	go func() {
		status, err := p.Wait()
		if err != nil {
			t.Error(err)
		}
		done <- status
	}()
	select {
	case status := <-done:
		t.Fatalf("did not wait: %v", status)
	case <-time.After(20 * time.Millisecond):
	}
	w.Close()
	select {
	case status := <-done:
		if status.Shell() != 5 {
			t.Error(status)
		}
	case <-time.After(time.Minute):
		t.Fatal("Wait does not return")
	}
}

// TestStringsStay: what the child's steps point to must be memory that the plan
// holds, also when the strings need more room than was thought.
func TestStringsStay(t *testing.T) {
	s := Spec{
		Program: "program", Dir: "/dir", Fallback: []string{strings.Repeat("f", 5000), "g"},
		Args: []string{"argument"}, Env: []string{"PATH=" + strings.Repeat("/some/directory:", 1000), "A=b"},
	}
	p := newPlan(&s, &descriptors{terminal: -1}, &loan{conduit: &conduit{rx: 5}})
	addresses := slices.Clone(p.pointers)
	for _, st := range p.steps {
		if st.nr == unix.SYS_EXECVE || st.nr == unix.SYS_CHDIR {
			addresses = append(addresses, st.args[0])
		}
	}
	for _, a := range addresses {
		held := a == 0
		for _, text := range append(p.full, p.text) {
			if first := uintptr(unsafe.Pointer(unsafe.SliceData(text))); first <= a && a < first+uintptr(len(text)) {
				held = true
			}
		}
		if !held {
			t.Fatalf("%#x is outside", a)
		}
	}
	if len(p.full) == 0 {
		t.Error("the test's strings did not need more room")
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
