//go:build linux

package dial_test

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen; nothing waits for it
// to pass.
const patience = 60 * time.Second

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listen(t *testing.T, path string, backlog int) *spawnsock.Listener {
	t.Helper()
	l, err := spawnsock.Listen(path, spawnsock.Options{Backlog: backlog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect connects and leaves the descriptor to the end of the test.
func connect(t *testing.T, path string, timeout time.Duration, wait bool) (int, time.Duration, error) {
	t.Helper()
	fd, waited, err := dial.Connect(path, timeout, wait)
	if err == nil {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	return fd, waited, err
}

func mustConnect(t *testing.T, path string) (int, time.Duration) {
	t.Helper()
	fd, waited, err := connect(t, path, patience, false)
	if err != nil {
		t.Fatal(err)
	}
	return fd, waited
}

// plain checks that fd is as promised: blocking, close-on-exec, no timeout.
func plain(t *testing.T, fd int) {
	t.Helper()
	status, err1 := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	flags, err2 := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	limit, err3 := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if status != unix.O_RDWR || flags != unix.FD_CLOEXEC || *limit != (unix.Timeval{}) {
		t.Errorf("status flags %#x, descriptor flags %#x, send timeout %+v", status, flags, *limit)
	}
}

func TestConnect(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 1)
	fd, waited := mustConnect(t, path)
	plain(t, fd)
	if waited != 0 {
		t.Errorf("waited %v for an empty queue", waited)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// D1: a full queue is waited for, to the end of the timeout, and then named as
// full; the time is told.
func TestQueueFull(t *testing.T) {
	path := socketPath(t)
	listen(t, path, 1)
	mustConnect(t, path)
	mustConnect(t, path)
	for _, timeout := range []time.Duration{-time.Second, 0, 1, 30 * time.Millisecond, 1100 * time.Millisecond} {
		for _, wait := range []bool{false, true} {
			began := time.Now()
			_, waited, err := connect(t, path, timeout, wait)
			took := time.Since(began)
			if !errors.Is(err, dial.ErrQueueFull) || !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("timeout %v: error %v", timeout, err)
			}
			if want := "connect " + path + ": accept queue is full"; err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			if took < timeout || waited > took || waited < timeout-time.Millisecond {
				t.Errorf("timeout %v: took %v, waited %v", timeout, took, waited)
			}
		}
	}
}

// D1: as soon as somebody is accepted whoever waits comes in, and the
// descriptor is like any other.
func TestQueueMoves(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 1)
	mustConnect(t, path)
	mustConnect(t, path)
	type result struct {
		fd     int
		waited time.Duration
		err    error
	}
	connected := make(chan result)
	go func() {
		fd, waited, err := dial.Connect(path, patience, false)
		connected <- result{fd, waited, err}
	}()
	untilWaiting(t, os.Getpid(), 1)
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := <-connected
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer unix.Close(r.fd)
	plain(t, r.fd)
	if r.waited <= 0 || r.waited > patience {
		t.Errorf("waited %v", r.waited)
	}
}

// untilWaiting waits until n threads of the process sleep in connect(2).
func untilWaiting(t *testing.T, pid, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); connecting(t, pid) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %d threads wait in connect", n)
		}
	}
}

// connecting counts the threads that are inside connect(2).
func connecting(t *testing.T, pid int) (threads int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, _ := os.ReadFile(name) // the thread may be gone
		var nr int
		if _, err := fmt.Sscan(string(text), &nr); err == nil && nr == unix.SYS_CONNECT {
			threads++
		}
	}
	return threads
}

// D1: signals neither end the wait nor prolong it. With a send timeout Linux
// interrupts connect even for a handler installed with SA_RESTART.
func TestSignals(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 1)
	mustConnect(t, path)
	mustConnect(t, path)
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, unix.SIGUSR1)
	defer signal.Stop(signals)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid, stop := unix.Gettid(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // about a signal a millisecond
		for {
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGUSR1)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	defer wg.Wait()
	defer close(stop)

	<-signals // they come
	began := time.Now()
	_, _, err := connect(t, path, 300*time.Millisecond, false)
	if took := time.Since(began); !errors.Is(err, dial.ErrQueueFull) || took < 300*time.Millisecond {
		t.Errorf("after %v: %v", took, err)
	}
	time.AfterFunc(20*time.Millisecond, func() {
		if c, err := l.AcceptUnix(); err == nil {
			_ = c.Close()
		}
	})
	if _, _, err := connect(t, path, patience, false); err != nil {
		t.Error(err)
	}
}

// A client that is killed while it waits takes its neighbour's turn with it: the
// kernel wakes one for each that is accepted, and that was the one killed. The
// neighbour must not sleep on beside a queue with room. Here the victim shares a
// processor with us and gets it only when we have nothing to do, so that it is
// killed between its wake-up and its next step.
func TestNeighbourKilled(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 3 {
		path := socketPath(t)
		l := listen(t, path, 1)
		mustConnect(t, path)
		mustConnect(t, path)
		victim := exec.Command("/proc/self/exe", "-test.run=^$", "-connect", path)
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = victim.Process.Kill() }()
		pid := victim.Process.Pid
		untilWaiting(t, pid, 1)
		done := make(chan error)
		go func() {
			fd, waited, err := dial.Connect(path, patience, false)
			if err == nil {
				t.Logf("the neighbour waited %v", waited)
				_ = unix.Close(fd)
			}
			done <- err
		}()
		untilWaiting(t, os.Getpid(), 1)
		shareProcessor(t, pid)
		c, err := l.AcceptUnix()
		_ = victim.Process.Kill()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		_ = victim.Wait()
		if d, err := l.Queue(); err != nil || d.Now > 1 {
			t.Logf("the victim was quicker: %+v, %v", d, err)
			if c, err := l.AcceptUnix(); err == nil {
				_ = c.Close()
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// shareProcessor moves us and the process to one processor, where the process
// runs only when nobody else wants to.
func shareProcessor(t *testing.T, pid int) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	t.Cleanup(func() { _ = unix.SchedSetaffinity(0, &all) })
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		const schedIdle = 5
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}
		err := errors.Join(unix.SchedSetaffinity(tid, &one), unix.SchedSetAttr(tid, &attr, 0))
		if err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

// The test binary plays two clients: -connect PATH connects, -burst PATH makes
// perProcess exchanges at once when it reads a byte, and reports the failures.
func TestMain(m *testing.M) {
	if i := slices.Index(os.Args, "-connect"); i > 0 {
		_, _, err := dial.Connect(os.Args[i+1], patience, false)
		fmt.Println(err)
		return
	}
	if i := slices.Index(os.Args, "-burst"); i > 0 {
		_, _ = os.Stdin.Read(make([]byte, 1))
		for _, err := range burst(os.Args[i+1], perProcess) {
			fmt.Println(err)
		}
		return
	}
	os.Exit(m.Run())
}

// A listener that closes while we wait for its queue is no reason to wait on.
func TestQueueCloses(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 1)
	mustConnect(t, path)
	mustConnect(t, path)
	done := make(chan error)
	go func() {
		_, _, err := dial.Connect(path, patience, false)
		done <- err
	}()
	untilWaiting(t, os.Getpid(), 1)
	_ = l.Close()
	if err := <-done; !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
}

// D4: what is wrong is said with operation, path and errno, at once.
func TestErrors(t *testing.T) {
	stale := socketPath(t)
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	file := socketPath(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	datagram := socketPath(t)
	d, err := net.ListenPacket("unixgram", datagram)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	absent := socketPath(t)
	long := filepath.Join(filepath.Dir(absent), strings.Repeat("x", 200))
	for _, c := range []struct {
		name, path string
		errno      syscall.Errno
	}{
		{"absent", absent, unix.ENOENT},
		{"absent, long path", long, unix.ENOENT},
		{"stale", stale, unix.ECONNREFUSED},
		{"a file", file, unix.ECONNREFUSED},
		{"below a file", file + "/s", unix.ENOTDIR},
		{"datagram", datagram, unix.EPROTOTYPE},
		{"name too long", "/" + strings.Repeat("x", 300), unix.ENAMETOOLONG},
		{"empty", "", unix.EINVAL},
		{"NUL", stale + "\x00", unix.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, waited, err := connect(t, c.path, patience, false)
			var e *dial.Error
			if !errors.As(err, &e) || *e != (dial.Error{Op: "connect", Path: c.path, Errno: c.errno}) || waited != 0 {
				t.Errorf("error %#v, waited %v", err, waited)
			}
			if want := "connect " + c.path + ": " + c.errno.Error(); err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			if !errors.Is(err, c.errno) || errors.Is(err, dial.ErrQueueFull) {
				t.Errorf("error %v matches wrongly", err)
			}
			if errors.Is(err, fs.ErrNotExist) != (c.errno == unix.ENOENT) {
				t.Errorf("error %v and fs.ErrNotExist", err)
			}
		})
	}
}

func TestOutOfDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	path := socketPath(t)
	listen(t, path, 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, _, err := dial.Connect(path, patience, true)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if want := "socket " + path + ": too many open files"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// D4: with wait a server that comes within the timeout is found, whether its
// socket is missing or stale before, and its queue is waited for like any.
func TestWaitForServer(t *testing.T) {
	for _, stale := range []bool{false, true} {
		path := socketPath(t)
		if stale {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			_ = l.Close()
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				fd, _, err := dial.Connect(path, patience, true)
				if err != nil {
					t.Error(err)
					return
				}
				_ = unix.Close(fd)
			})
		}
		if _, _, err := dial.Connect(path, 20*time.Millisecond, true); err == nil {
			t.Error("connected to nobody")
		}
		l := listen(t, path, 4)
		for range 100 {
			c, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		wg.Wait()
	}
}

// D4: if it does not come, the error is the last one and no sooner.
func TestWaitInVain(t *testing.T) {
	path := socketPath(t)
	began := time.Now()
	_, waited, err := connect(t, path, 50*time.Millisecond, true)
	if took := time.Since(began); !errors.Is(err, unix.ENOENT) || took < 50*time.Millisecond || waited != 0 {
		t.Errorf("after %v, waited %v: %v", took, waited, err)
	}
}

// D4: a server that calls bind and a moment later listen is not missed in
// between, without wait either.
func TestServerStarts(t *testing.T) {
	path := socketPath(t)
	for range 200 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			c, _, err := dial.Connect(path, patience, false)
			if err == nil {
				_ = unix.Close(c)
			}
			done <- err
		}()
		runtime.Gosched()
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		_ = os.Remove(path)
	}
}

// D1: a thousand clients at the same instant all get in and are served, even if
// the queue holds two.
func TestBurst(t *testing.T) {
	for _, backlog := range []int{1, 16, 4096} {
		t.Run(fmt.Sprint(backlog), func(t *testing.T) {
			const clients = 1000
			path := socketPath(t)
			l := listen(t, path, backlog)
			srv := echo(t, l)
			var mu sync.Mutex
			var had int
			var longest time.Duration
			start := make(chan struct{})
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					<-start
					waited, err := exchange(path)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if waited > 0 {
						had++
					}
					longest = max(longest, waited)
				})
			}
			close(start)
			wg.Wait()
			d, err := l.Queue()
			t.Logf("%d had to wait, the longest %v; queue %+v, %v", had, longest, d, err)
			if s := srv.Stats(); s.Accepted != clients {
				t.Errorf("stats are %+v", s)
			}
		})
	}
}

const (
	processes  = 16
	perProcess = 512
)

// burst makes so many exchanges at once and returns the errors.
func burst(path string, n int) (failed []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := exchange(path); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	wg.Wait()
	return failed
}

// D1: 8,192 clients from many processes at the same instant, twice as many as
// the queue holds: none is refused.
func TestBurstProcesses(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 4096)
	srv := echo(t, l)
	var clients [processes]*exec.Cmd
	var said [processes]strings.Builder
	gate, start, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer start.Close()
	for i := range clients {
		c := exec.Command("/proc/self/exe", "-test.run=^$", "-burst", path)
		c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		c.Stdin, c.Stdout, c.Stderr = gate, &said[i], &said[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Process.Kill() }()
		clients[i] = c
	}
	_ = gate.Close()
	if _, err := start.Write(make([]byte, processes)); err != nil {
		t.Fatal(err)
	}
	for i, c := range clients {
		if err := c.Wait(); err != nil || said[i].Len() > 0 {
			t.Errorf("client process: %v, %s", err, said[i].String())
		}
	}
	d, err := l.Queue()
	t.Logf("queue %+v, %v", d, err)
	if s := srv.Stats(); s.Accepted != processes*perProcess || s.Dropped != 0 || len(s.AcceptErrors) != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// echo serves one byte for each connection.
func echo(t *testing.T, l *spawnsock.Listener) *spawnsock.Server {
	t.Helper()
	srv := &spawnsock.Server{Handler: func(_ context.Context, c *net.UnixConn) {
		b := make([]byte, 1)
		if _, err := c.Read(b); err == nil {
			_, _ = c.Write(b)
		}
	}}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return srv
}

// exchange connects, sends a byte and reads it back.
func exchange(path string) (waited time.Duration, err error) {
	fd, waited, err := dial.Connect(path, patience, false)
	if err != nil {
		return waited, err
	}
	defer unix.Close(fd)
	b := []byte("x")
	if _, err := unix.Write(fd, b); err != nil {
		return waited, err
	}
	if n, err := unix.Read(fd, b); n != 1 || err != nil {
		return waited, fmt.Errorf("read %d bytes: %w", n, err)
	}
	return waited, nil
}

// The package is for programs that must start fast: it imports only what costs
// nothing at start-up, and neither net nor fmt, os, log or context.
func TestImports(t *testing.T) {
	light := []string{"errors", "strconv", "strings", "syscall", "time", "golang.org/x/sys/unix"}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 3 {
		t.Fatalf("not in the package's directory: %v %v", files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(light, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
