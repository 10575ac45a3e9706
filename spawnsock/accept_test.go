//go:build linux

package spawnsock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

func init() {
	// lowfd serves with few descriptors, of which it leaves free as many as it
	// is told; each line on stdin says how many to have free from then on. It
	// reports accept errors as they come and, at the end, all numbers.
	// With a second argument it waits for a line first, and then makes its socket anew.
	helpers["lowfd"] = func(args []string) error {
		l, err := spawnsock.Listen(args[0], spawnsock.Options{})
		if err != nil {
			return err
		}
		in := bufio.NewScanner(os.Stdin)
		if len(args) > 1 {
			fmt.Println("listening")
			in.Scan()
			if err := errors.Join(os.Remove(args[0]), l.Rebind()); err != nil {
				return err
			}
		}
		srv := &spawnsock.Server{MaxPending: -1}
		srv.Handler = func(_ context.Context, c *net.UnixConn) {
			b := make([]byte, 1)
			if _, err := c.Read(b); err == nil {
				_, _ = c.Write(b)
			}
		}
		srv.AcceptError = func(err error, pause time.Duration) {
			fmt.Println("pause", pause, errors.Is(err, unix.EMFILE))
		}
		plugs, err := plug(l)
		if err != nil {
			return err
		}
		served := make(chan error)
		go func() { served <- srv.Serve(l) }()
		fmt.Println("ready")
		for in.Scan() {
			n, err := strconv.Atoi(in.Text())
			if err != nil {
				return err
			}
			plugs = plugs.leave(n)
			srv.Nudge()
			fmt.Println("left", n)
		}
		plugs.leave(100)
		err = errors.Join(srv.Close(), srv.Shutdown(context.Background()))
		fmt.Println("end", <-served, srv.Stats().AcceptErrors["EMFILE"], cpuTime())
		return err
	}
}

// plugs are descriptors that only take up room.
type plugs []int

// plug lowers the limit and opens descriptors until none is left. What the
// runtime opens once and keeps is open before.
func plug(l *spawnsock.Listener) (plugs, error) {
	if _, err := l.Queue(); err != nil {
		return nil, err
	}
	limit := unix.Rlimit{Cur: 150, Max: 150}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	var p plugs
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EMFILE {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		p = append(p, fd)
	}
}

// leave closes so many plugs.
func (p plugs) leave(n int) plugs {
	for range min(n, len(p)) {
		_ = unix.Close(p[len(p)-1])
		p = p[:len(p)-1]
	}
	return p
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// D3: without a descriptor left and with 500 clients waiting the server neither
// dies nor spins: it tries at 5 ms, then ever more seldom, and once a second in
// the end. As soon as there are descriptors it serves all of them.
func TestOutOfDescriptors(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "lowfd", path)
	h.line(t)
	began := time.Now()
	var clients []*net.UnixConn
	for range 500 {
		c := client(t, path)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	var total time.Duration
	want := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}
	for _, ms := range want {
		pause := ms * time.Millisecond
		if got := h.line(t); got != fmt.Sprint("pause ", pause, " true") {
			t.Errorf("helper says %s, want a pause of %v", got, pause)
		}
		if now := time.Since(began); now < total {
			t.Errorf("pause number %v began after %v, want %v", pause, now, total)
		}
		total += pause
	}
	fmt.Fprintln(h.stdin, 20)
	for i, c := range clients {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("client %d: %v", i+1, err)
		}
	}
	_ = h.stdin.Close()
	errs, cpu := endOf(t, h)
	t.Logf("%d accepts failed in %v, %v of processor time", errs, time.Since(began), cpu)
	if cpu > 2*time.Second {
		t.Errorf("it used %v of processor time", cpu)
	}
}

// endOf reads what the helper says until its last line.
func endOf(t *testing.T, h *helper) (errs int, cpu time.Duration) {
	t.Helper()
	for {
		line := h.line(t)
		if !strings.HasPrefix(line, "end ") {
			continue
		}
		rest, ok := strings.CutPrefix(line, "end "+spawnsock.ErrServerClosed.Error()+" ")
		fields := strings.Fields(rest)
		if !ok || len(fields) != 2 {
			t.Fatalf("helper says %s", line)
		}
		errs, err1 := strconv.Atoi(fields[0])
		cpu, err2 := time.ParseDuration(fields[1])
		if err1 != nil || err2 != nil {
			t.Fatalf("helper says %s", line)
		}
		return errs, cpu
	}
}

// D3: it recovers at once when told that descriptors are free, although the
// pause has grown to a second. The quickest of several counts: any one may be
// slow on a busy machine, but without the nudge all would be.
func TestRecoverAtOnce(t *testing.T) {
	best := time.Hour
	for range 3 {
		path := socketPath(t)
		h := startHelper(t, nil, "lowfd", path)
		h.line(t)
		c := client(t, path)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for h.line(t) != "pause 1s true" {
		}
		began := time.Now()
		fmt.Fprintln(h.stdin, 20)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
		h.kill()
	}
	if best > 700*time.Millisecond {
		t.Errorf("it took %v", best)
	}
}

// D3: the end of a connection is enough of a nudge: with room for two at a time
// all are served, one after the other.
func TestConnectionEndMakesRoom(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "lowfd", path)
	h.line(t)
	fmt.Fprintln(h.stdin, 2)
	var clients []*net.UnixConn
	for range 100 {
		clients = append(clients, client(t, path))
	}
	for i, c := range clients {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("client %d: %v", i+1, err)
		}
		_ = c.Close()
	}
}

// D3, F4: with all descriptors in use and nobody waiting there is nothing to
// fail, to count or to wake up for.
func TestNoDescriptorsNoClients(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "lowfd", path)
	h.line(t)
	sleeping := func() bool { return asleep(t, h.cmd.Process.Pid) }
	eventually(t, "the helper sleeps", sleeping)
	fmt.Fprintln(h.stdin, 1)
	h.line(t)
	for range 5 {
		c := client(t, path) // takes the only descriptor
		eventually(t, "the helper sleeps", sleeping)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
	}
	_ = h.stdin.Close()
	if errs, _ := endOf(t, h); errs != 0 {
		t.Errorf("%d accepts failed with nobody waiting", errs)
	}
}

// D3, D9: the clients of a socket that was removed are served as soon as there are
// descriptors, be it two at a time, although nobody comes to the new one.
func TestOutOfDescriptorsAfterRebind(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "lowfd", path, "rebind")
	h.line(t)
	var clients []*net.UnixConn
	for range 3 {
		c := client(t, path)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	fmt.Fprintln(h.stdin)
	for !strings.HasPrefix(h.line(t), "pause 80ms ") {
	}
	fmt.Fprintln(h.stdin, 1)
	for h.line(t) != "left 1" {
	}
	for !strings.HasPrefix(h.line(t), "pause ") { // one descriptor is not enough
	}
	fmt.Fprintln(h.stdin, 1)
	for i, c := range clients {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("client %d: %v", i+1, err)
		}
		_ = c.Close()
	}
	_ = h.stdin.Close()
	if errs, cpu := endOf(t, h); errs > 50 || cpu > 2*time.Second {
		t.Errorf("%d accepts failed, %v of processor time", errs, cpu)
	}
}

// D3, D9, F4: a socket that was removed, and for which nobody waits, is no reason to wake
// up either.
func TestNoDescriptorsAfterRebind(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "lowfd", path, "rebind")
	h.line(t)
	fmt.Fprintln(h.stdin)
	h.line(t)
	eventually(t, "the helper sleeps", func() bool { return asleep(t, h.cmd.Process.Pid) })
	_ = h.stdin.Close()
	if errs, _ := endOf(t, h); errs != 0 {
		t.Errorf("%d accepts failed with nobody waiting", errs)
	}
}

// asleep says whether no thread of the process ran between two looks.
func asleep(t *testing.T, pid int) bool {
	t.Helper()
	first := switches(t, pid)
	time.Sleep(50 * time.Millisecond) // longer than the runtime's own watch sleeps when there is work
	return first != "" && first == switches(t, pid)
}

// switches is the number of context switches of each thread of the process, or
// nothing if one of them runs.
func switches(t *testing.T, pid int) string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(text), "State:\tS") {
			return ""
		}
		_, count, _ := strings.Cut(string(text), "voluntary_ctxt_switches:")
		all += name + count
	}
	return all
}

func init() {
	// faults serves one client after the other while the kernel answers its
	// accept4 as the arguments say, in their order: an errno number, or 0 for
	// the true answer. Afterwards it answers truly.
	helpers["faults"] = func(args []string) error {
		l, err := spawnsock.Listen(args[0], spawnsock.Options{})
		if err != nil {
			return err
		}
		var plan []unix.Errno
		for _, a := range args[1:] {
			n, err := strconv.Atoi(a)
			if err != nil {
				return err
			}
			plan = append(plan, unix.Errno(n))
		}
		fmt.Println("listening")
		in := bufio.NewScanner(os.Stdin)
		in.Scan() // the clients wait
		if err := supervise(unix.SYS_ACCEPT4, plan); err != nil {
			return err
		}
		srv := lineServer()
		srv.AcceptError = func(err error, pause time.Duration) {
			var errno unix.Errno
			errors.As(err, &errno)
			fmt.Println(unix.ErrnoName(errno), pause)
		}
		go func() {
			in.Scan()
			fmt.Println("counted", srv.Stats().AcceptErrors)
			_ = srv.Close()
		}()
		fmt.Println("end", srv.Serve(l))
		return nil
	}
}

// D3: the accept loop survives each error that accept(2) may bring; the pause
// grows with each one in a row and starts again after a success.
func TestAcceptErrors(t *testing.T) {
	type e = unix.Errno
	for _, c := range []struct {
		name    string
		plan    []unix.Errno
		reports []string
		counted string
	}{
		{"each kind", []e{unix.EINTR, unix.ECONNABORTED, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EPERM},
			[]string{"EMFILE 5ms", "ENFILE 10ms", "ENOMEM 20ms", "ENOBUFS 40ms", "EPERM 80ms"},
			"map[EMFILE:1 ENFILE:1 ENOBUFS:1 ENOMEM:1 EPERM:1]"},
		{"success between", []e{unix.ENOMEM, unix.ENOMEM, 0, unix.ENOMEM},
			[]string{"ENOMEM 5ms", "ENOMEM 10ms", "ENOMEM 5ms"},
			"map[ENOMEM:3]"},
		{"interrupted for ever so long", slices.Repeat([]e{unix.EINTR, unix.ECONNABORTED}, 100), nil, "map[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := socketPath(t)
			args := []string{"faults", path}
			for _, errno := range c.plan {
				args = append(args, strconv.Itoa(int(errno)))
			}
			h := startHelper(t, nil, args...)
			h.line(t)
			one, two := client(t, path), client(t, path)
			fmt.Fprintln(h.stdin)
			ask(t, one)
			ask(t, two)
			fmt.Fprintln(h.stdin)
			for _, want := range append(c.reports, "counted "+c.counted, "end "+spawnsock.ErrServerClosed.Error()) {
				if got := h.line(t); got != want {
					t.Errorf("helper says %q, want %q", got, want)
				}
			}
		})
	}
}

// What can never succeed ends Serve instead of being tried for ever.
func TestAcceptHopeless(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "faults", path, strconv.Itoa(int(unix.EINVAL)))
	h.line(t)
	client(t, path)
	fmt.Fprintln(h.stdin)
	if got := h.line(t); !strings.HasSuffix(got, "accept4: invalid argument") {
		t.Errorf("helper says %q", got)
	}
}
