package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/spawnsock/dial"
)

// clients starts n clients of a daemon that does not run, so that all of them
// are at its door in the same instant.
func clients(t *testing.T, d *spawntest.Daemon, n int, args ...string) []*ending {
	t.Helper()
	all := make([]*ending, n)
	for i := range all {
		all[i] = start(t, d.Client(args...))
	}
	return all
}

// allSucceed waits for the clients.
func allSucceed(t *testing.T, all []*ending) {
	t.Helper()
	failed := 0
	for _, c := range all {
		if code := c.code(); code != 0 {
			if failed++; failed <= 3 {
				t.Errorf("status %d: %s", code, c.stderr.String())
			}
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d clients failed", failed, len(all))
	}
}

// D1, D2: the bug that this program was written for. The original listened with
// a backlog of 1, and when many terminals opened a shell at the same instant some
// of them failed to connect. Here all of them come up, whatever the backlog, and
// status tells that they had to wait.
func TestBurst(t *testing.T) {
	n := spawntest.Count(1000, 1000)
	for _, backlog := range []int{1, 16, 4096} {
		t.Run(strconv.Itoa(backlog), func(t *testing.T) {
			d := spawntest.StartDaemon(t, spawntest.Args("--backlog", strconv.Itoa(backlog)))
			d.Freeze()
			all := clients(t, d, n, "true")
			// With backlog b the kernel lets b+1 in; the others wait in connect.
			full := min(n, backlog+1)
			spawntest.Eventually(t, "queue with its fill of clients", func() bool { return waiting(t, d.Socket) >= full })
			d.Thaw()
			allSucceed(t, all)
			s := status(t, d)
			if s.Shells.Total != uint64(n) || len(s.Shells.Refused) > 0 || len(s.AcceptErrors) > 0 {
				t.Errorf("status %+v, want %d shells and no refusal", s, n)
			}
			outside := n - full
			if s.Queue.Waited > uint64(outside)+1 || outside > 0 && s.Queue.Waited < uint64(outside)*9/10 {
				t.Errorf("%d clients say that they waited, %d had to", s.Queue.Waited, outside)
			}
			if outside > 0 && s.Queue.LongestWaitSeconds <= 0 {
				t.Error("nobody says how long the wait was")
			}
			if s.Queue.Peak < full/2 || s.Queue.Peak > full+1 { // one more is the question for the status
				t.Errorf("peak %d, want about %d", s.Queue.Peak, full)
			}
			page := must(t, d, "status")
			if advised := strings.Contains(page, "advice"); advised != (outside > 0) {
				t.Errorf("advice %v, want %v:\n%s", advised, outside > 0, page)
			}
			t.Logf("%d clients, backlog %d: longest wait %.3f s\n%s", n, backlog, s.Queue.LongestWaitSeconds, page)
		})
	}
}

// waiting is how many clients the kernel says wait on the socket.
func waiting(t *testing.T, path string) int {
	t.Helper()
	out, err := exec.Command("ss", "-xlnH", "src", "unix:"+path).Output()
	if err != nil {
		t.Fatalf("ss: %v", err)
	}
	f := strings.Fields(string(out))
	if len(f) < 3 {
		return -1
	}
	n, err := strconv.Atoi(f[2])
	if err != nil {
		t.Fatalf("ss: %q", out)
	}
	return n
}

// D1: bare connections, 8,192 of them at once and all of them silent: each is
// accepted in the end, and a client with something to say comes through.
func TestManyBareConnections(t *testing.T) {
	n := spawntest.Count(8192, 8192)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(n)+200 {
		n = int(limit.Cur) - 200
		t.Logf("the limit on descriptors leaves room for %d connections", n)
	}
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", "4096"))
	fds := make([]int, n)
	t.Cleanup(func() {
		for _, fd := range fds {
			if fd > 0 {
				_ = unix.Close(fd)
			}
		}
	})
	var group sync.WaitGroup
	for i := range fds {
		group.Go(func() {
			fd, _, err := dial.Connect(d.Socket, spawntest.Deadline, false)
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			fds[i] = fd
		})
	}
	group.Wait()
	if _, errs, code := d.Run(nil, "true"); code != 0 {
		t.Errorf("a client among them: status %d, %s", code, errs)
	}
	spawntest.Eventually(t, "queue that is empty again", func() bool { return status(t, d).Queue.Now == 0 })
}

// D2: a second listen(2) changes the queue while clients wait, and the log and
// status say what the kernel made of it.
func TestBacklogWhileRunning(t *testing.T) {
	most := somaxconn(t)
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", "3"))
	if out := must(t, d, "backlog"); out != fmt.Sprintf("3 asked for, 3 in effect; net.core.somaxconn is %d\n", most) {
		t.Errorf("backlog prints %q", out)
	}
	must(t, d, "backlog", "7")
	if s := status(t, d); s.Backlog.Asked != 7 || s.Backlog.Effective != 7 {
		t.Errorf("after backlog 7: %+v", s.Backlog)
	}
	d.Freeze()
	conns := fill(t, d.Socket)
	d.Thaw()
	if conns != 8 {
		t.Errorf("%d clients find room in a queue of 7, want 8: the kernel admits one more", conns)
	}
	out := must(t, d, "backlog", strconv.Itoa(most+1))
	if !strings.Contains(out, "the kernel cut the backlog") {
		t.Errorf("nothing says that the kernel cut %d: %q", most+1, out)
	}
	if page := must(t, d, "status"); !strings.Contains(page, "the kernel cut the backlog") {
		t.Errorf("nothing says that the kernel cut %d:\n%s", most+1, page)
	}
	d.WaitLog(fmt.Sprintf("msg=backlog path=%s backlog=%d effective=%d somaxconn=%d", d.Socket, most+1, most, most))
}

// fill connects without waiting until there is no more room, and says how often
// that went well.
func fill(t *testing.T, path string) int {
	t.Helper()
	for n := 0; ; n++ {
		c, err := net.Dial("unix", path)
		if err != nil {
			return n
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// D2: at the start the kernel's cut is a warning in the log.
func TestClampedBacklogIsLogged(t *testing.T) {
	most := somaxconn(t)
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", strconv.Itoa(2*most)))
	for _, want := range []string{
		fmt.Sprintf("msg=listening path=%s inherited=false backlog=%d effective=%d somaxconn=%d", d.Socket, 2*most, most, most),
		"level=WARN msg=\"backlog cut by the kernel; raise net.core.somaxconn\"",
	} {
		d.WaitLog(want)
	}
}

// D2: a raised somaxconn counts after SIGHUP, and the log says so. The daemon has
// a network namespace of its own here, and so a somaxconn of its own.
func TestSomaxconnRaised(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", "500"), spawntest.Under("unshare", "--net", "--",
		"sh", "-c", `echo 100 >/proc/sys/net/core/somaxconn && exec "$0" "$@"`))
	inside := func(args ...string) string {
		out, errs, code := d.Collect(d.Command(append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(d.PID) + "/ns/net", "--"}, args...)...), nil)
		if code != 0 {
			t.Fatalf("%q: %s", args, errs)
		}
		return string(out)
	}
	if s := status(t, d); s.Backlog.Effective != 100 || s.Backlog.Somaxconn != 100 {
		t.Fatalf("at the start: %+v, want 100 in effect", s.Backlog)
	}
	inside("sh", "-c", "echo 300 >/proc/sys/net/core/somaxconn")
	if s := status(t, d); s.Backlog.Effective != 100 || s.Backlog.Somaxconn != 300 {
		t.Errorf("before SIGHUP: %+v, want 100 in effect of 300", s.Backlog)
	}
	d.Signal(unix.SIGHUP)
	spawntest.Eventually(t, "backlog in effect", func() bool { return status(t, d).Backlog.Effective == 300 })
	d.WaitLog("msg=backlog path=" + d.Socket + " backlog=500 before=100 effective=300 somaxconn=300")
}

// D3: out of descriptors, with 500 clients at the door, the daemon neither dies
// nor spins nor fills its log; as soon as there are descriptors all are served.
func TestNoDescriptorToAccept(t *testing.T) {
	d := spawntest.StartDaemon(t)
	must(t, d, "status") // whatever is opened once is open now
	var old unix.Rlimit
	if err := unix.Prlimit(d.PID, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	// No number below the limit is free: not even one client can be accepted.
	limit := unix.Rlimit{Cur: 1, Max: old.Max}
	if err := unix.Prlimit(d.PID, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	n := spawntest.Count(500, 500)
	all := clients(t, d, n, "true")
	spawntest.Eventually(t, "line about the accept error", func() bool {
		return strings.Contains(d.Log(), "msg=accept cause=")
	})
	spawntest.Eventually(t, "queue with all clients", func() bool { return waiting(t, d.Socket) >= n })
	before := cpu(t, d.PID)
	time.Sleep(2 * time.Second) // the length of the measurement
	if used := cpu(t, d.PID) - before; used > 200*time.Millisecond {
		t.Errorf("the daemon used %v of processor time in 2 s without a descriptor", used)
	}
	if lines := strings.Count(d.Log(), "msg=accept"); lines > 2 {
		t.Errorf("%d lines about accept errors within seconds", lines)
	}
	for _, c := range all {
		if c.over() {
			t.Fatalf("a client gave up: %s", c.stderr.String())
		}
	}
	if err := unix.Prlimit(d.PID, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	allSucceed(t, all)
	s := status(t, d)
	if s.AcceptErrors["EMFILE"] == 0 || s.Shells.Total != uint64(n) {
		t.Errorf("status %+v, want accept errors EMFILE and %d shells", s, n)
	}
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 for every program
}

// At the limits on shells status and list still come through, and so does the
// stop.
func TestControlAtTheLimits(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--max-shells", "1"))
	start(t, d.Client("sleep", "1000"))
	running(t, d, 1)
	for range 50 {
		if _, _, code := d.Run(nil, "true"); code != 125 {
			t.Fatalf("a second shell: status %d, want 125", code)
		}
	}
	if s := status(t, d); s.Shells.Refused["max-shells"] != 50 {
		t.Errorf("status %+v, want 50 refused", s.Shells)
	}
}

// D8: a daemon that hangs is waited for no longer than asked.
func TestHungDaemon(t *testing.T) {
	t.Parallel()
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", "1"))
	// Whoever has been served was behind all who came before: the queue is empty.
	if _, errs, code := d.Run(nil, "true"); code != 0 {
		t.Fatalf("status %d, %s", code, errs)
	}
	d.Freeze()
	t.Cleanup(d.Thaw)
	_, errs, code := d.Run(nil, "--connect-timeout", "300ms", "true")
	if code != 125 {
		t.Errorf("status %d, want 125", code)
	}
	oneLine(t, "darling-shell", string(errs), d.Socket, "connected but no answer within 300ms")
	_, text, code := ask(t, d, "status")
	if code != 1 {
		t.Errorf("status of a hung daemon: %d, want 1", code)
	}
	oneLine(t, "shellspawn", text, d.Socket, "connected but no answer within 10s")

	// Two are in the queue now, which is full.
	_, errs, code = d.Run(nil, "--connect-timeout", "300ms", "true")
	if code != 125 {
		t.Errorf("status %d, want 125", code)
	}
	oneLine(t, "darling-shell", string(errs), d.Socket, "accept queue is full", "backlog")
	_, text, code = ask(t, d, "list")
	if code != 1 {
		t.Errorf("list of a hung daemon: %d, want 1", code)
	}
	oneLine(t, "shellspawn", text, d.Socket, "accept queue is full")
}
