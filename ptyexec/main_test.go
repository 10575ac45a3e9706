package ptyexec_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/ptyexec"
)

// limit bounds every wait in these tests. It is only reached when one fails.
const limit = time.Minute

// helpers are the programs that this test binary plays when it is told to by its
// environment, and which print what they see.
var helpers = map[string]func(){}

const helperVar = "PTYEXEC_TEST_HELPER"

// denyVar asks for a test without clone3(2), see TestWithoutClone3.
const denyVar = "PTYEXEC_TEST_DENY"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVar); name != "" {
		helpers[name]()
		os.Exit(0)
	}
	if os.Getenv(denyVar) != "" {
		if err := spawntest.Deny(unix.SYS_CLONE3, unix.ENOSYS); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	// What the first start opens and keeps must not look like a leak of the first test.
	if err := ptyexec.Prepare(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helper returns what makes this test binary run the named helper.
func helper(name string, args ...string) ptyexec.Spec {
	return ptyexec.Spec{
		Program: "/proc/self/exe",
		Args:    append([]string{name}, args...),
		Env:     []string{helperVar + "=" + name, "PATH=" + os.Getenv("PATH")},
	}
}

func sh(script string) ptyexec.Spec {
	return ptyexec.Spec{Program: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// check ends a helper that has found something wrong.
func check(ok bool, format string, args ...any) {
	if !ok {
		fmt.Printf("FAILED: "+format+"\n", args...)
		os.Exit(1)
	}
}

// start starts s and sees to it that it ends with the test.
func start(t *testing.T, s ptyexec.Spec) *ptyexec.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p, err := ptyexec.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Kill() // most have ended by now
		wait(t, p)
	})
	return p
}

// wait is p.Wait with a deadline.
func wait(t *testing.T, p *ptyexec.Process) ptyexec.ExitStatus {
	t.Helper()
	type result struct {
		status ptyexec.ExitStatus
		err    error
	}
	done := make(chan result, 1)
	go func() {
		status, err := p.Wait()
		done <- result{status, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.status
	case <-time.After(limit):
		t.Fatalf("pid %d has not ended", p.PID())
		return 0
	}
}

// output runs s with /dev/null as its input and returns all that it writes to its
// standard output and error, and how it ended.
func output(t *testing.T, s ptyexec.Spec) (string, ptyexec.ExitStatus) {
	t.Helper()
	r, w := pipe(t)
	if s.Stdio == nil {
		s.Stdio = &[3]int{-1, int(w.Fd()), int(w.Fd())}
	}
	p := start(t, s)
	w.Close()
	text := readAll(t, r)
	return text, wait(t, p)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func readAll(t *testing.T, r *os.File) string {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %q: %v", text, err)
	}
	return string(text)
}

// screen is the master's side of a terminal, with deadlines.
type screen struct {
	t    *testing.T
	file *os.File
	seen strings.Builder
}

// openScreen takes the master of p.
func openScreen(t *testing.T, p *ptyexec.Process) *screen {
	t.Helper()
	fd := p.TakeMaster()
	if fd < 0 {
		t.Fatal("no pty master")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, file: os.NewFile(uintptr(fd), "pty master")}
	if err := s.file.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.file.Close() })
	return s
}

// expect reads until want has appeared.
func (s *screen) expect(want string) {
	s.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(s.seen.String(), want) {
		n, err := s.file.Read(buf)
		s.seen.Write(buf[:n])
		if err != nil {
			s.t.Fatalf("waiting for %q, have %q: %v", want, s.seen.String(), err)
		}
	}
}

// rest reads until the terminal is gone, and returns everything seen.
func (s *screen) rest() string {
	s.t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := s.file.Read(buf)
		s.seen.Write(buf[:n])
		switch {
		case err == nil:
		case isErrno(err, unix.EIO):
			return s.seen.String()
		default:
			s.t.Fatalf("after %q: %v", s.seen.String(), err)
		}
	}
}

func (s *screen) typeIn(text string) {
	s.t.Helper()
	if _, err := s.file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// openFDs returns the descriptors of this process that are open.
func openFDs(t *testing.T) []string {
	t.Helper()
	names, err := fdNames()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func fdNames() ([]string, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	var fds []string
	for _, name := range names {
		if target, err := os.Readlink("/proc/self/fd/" + name); err == nil && name != fmt.Sprint(dir.Fd()) {
			fds = append(fds, name+" "+target)
		}
	}
	return fds, err
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func needUser(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("needs non-root")
	}
}
