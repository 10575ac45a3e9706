package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// unwilling is a shell that does not want to end, or that leaves something behind
// which does not.
type unwilling struct {
	name, text string // a script, with a place for the file that says it is ready
	stopped    bool   // it is, once it is ready
	children   int    // then, beside the leader
	survive    bool   // the children do, as they would a terminal that hangs up
}

// B8, B12: every kind of shell that does not want to go, when its client goes and when
// the daemon stops: it ends, nothing is left, and what is meant to live on does.
func TestShellsThatDoNotWantToEnd(t *testing.T) {
	for _, u := range []unwilling{
		{name: "ignores SIGHUP", text: "trap '' HUP; touch %s; exec sleep 1000"},
		{name: "ignores everything", text: "trap '' HUP INT QUIT TERM TSTP; touch %s; exec sleep 1000"},
		{name: "is stopped", text: "touch %s; kill -STOP $$; exec sleep 1000", stopped: true},
		{name: "ignores SIGHUP and is stopped", text: "trap '' HUP; touch %s; kill -STOP $$; exec sleep 1000", stopped: true},
		{name: "has a child on its streams", text: "sleep 1000 & touch %s; wait", children: 1},
		{name: "has a child that ignores SIGHUP", text: "(trap '' HUP; touch %s; exec sleep 1000) & wait", children: 1, survive: true},
	} {
		for _, terminal := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/pty=%v", u.name, terminal), func(t *testing.T) {
				t.Parallel()
				u.end(t, terminal)
			})
		}
	}
}

func (u unwilling) end(t *testing.T, terminal bool) {
	const grace = 8 * time.Second
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "500ms", "--shutdown-grace", grace.String()))
	alive(t, d)
	descriptors := len(d.FDs())
	leaving, master, first := u.begin(t, d, terminal)
	leaving.Close()
	closeMaster(master)
	d.Settle(t, descriptors)
	staying, master, second := u.begin(t, d, terminal)
	began := time.Now()
	d.Signal(syscall.SIGTERM)
	if end, err := staying.Exited(); err != nil || end.Cause != wire.CauseShutdown {
		t.Errorf("%+v, %v", end, err)
	}
	if state := d.WaitExit(); !state.Success() || time.Since(began) > grace+spawntest.Deadline/4 {
		t.Errorf("the daemon: %v after %v", state, time.Since(began))
	}
	closeMaster(master)
	for _, child := range slices.Concat(first, second) {
		if u.survive {
			if !child.Same() {
				t.Errorf("%+v has ended", child)
			}
			_ = unix.Kill(child.PID, unix.SIGKILL) // the test fails if it has ended
		} else if !spawntest.Within(spawntest.Deadline, func() bool { return !child.Same() }) {
			t.Errorf("%+v lives on", child)
			_ = unix.Kill(child.PID, unix.SIGKILL) // it may end after all
		}
	}
}

// begin starts the shell, waits until it is ready, and returns what it has as
// children then. The caller closes the master.
func (u unwilling) begin(t *testing.T, d *spawntest.Daemon, terminal bool) (c *spawntest.Conn, master int, children []spawntest.Process) {
	t.Helper()
	ready := filepath.Join(spawntest.Self().TempDir(t), "ready")
	c = d.Connect()
	s, fds := spawntest.Request(3, "sh", "-c", fmt.Sprintf(u.text, ready)), spawntest.DevNull(t)
	if terminal {
		s, fds = terminalRequest(0, s.Argv...), nil
	}
	if err := c.Start(s, fds...); err != nil {
		t.Fatal(err)
	}
	m, master, err := c.Started()
	if err != nil {
		t.Fatal(err)
	}
	pid := int(m.PID)
	spawntest.Eventually(t, "shell that is ready", func() bool {
		_, err := os.Stat(ready)
		p, _ := spawntest.Inspect(pid)
		children = spawntest.Descendants(pid)
		// The file may be there before the program that made it has ended.
		return err == nil && (p.State == 'T') == u.stopped && len(children) == u.children
	})
	return c, master, children
}

func closeMaster(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // it is read by nobody
	}
}

// B9: as child subreaper and as pid 1 of a pid namespace the daemon reaps what its shells
// leave behind, and no status of a shell is lost to that.
func TestOrphansAreReaped(t *testing.T) {
	t.Run("subreaper", func(t *testing.T) {
		reapsOrphans(t, spawntest.Under(spawntest.Helper(t, "spawntest-subreaper")))
	})
	t.Run("pid 1", func(t *testing.T) {
		spawntest.NeedRoot(t) // to make a pid namespace
		reapsOrphans(t, spawntest.Under(spawntest.Helper(t, "spawntest-pid1")),
			spawntest.Attr(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}))
	})
}

func reapsOrphans(t *testing.T, how ...spawntest.Option) {
	d := spawntest.StartDaemon(t, how...)
	alive(t, d)
	null := spawntest.DevNull(t)
	descriptors, threads := len(d.FDs()), d.Threads()
	var clients sync.WaitGroup
	for worker := range 4 {
		clients.Go(func() {
			for i := range spawntest.Count(50, 1000) {
				if err := leaveOrphans(d, null, (worker+i)%256); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	d.Settle(t, descriptors)
	if n := d.Threads(); n > threads+4 {
		t.Errorf("%d threads after %d", n, threads)
	}
}

// leaveOrphans runs a shell that leaves children behind, of which some end before it,
// some together with it and some later, and checks its status.
func leaveOrphans(d *spawntest.Daemon, null []int, code int) error {
	c, err := spawntest.Dial(d.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	text := fmt.Sprintf("(true & true & sleep 0.01 & sleep 0.05 &); exit %d", code)
	if err := c.Start(spawntest.Request(3, "sh", "-c", text), null...); err != nil {
		return err
	}
	if _, _, err := c.Started(); err != nil {
		return err
	}
	end, err := c.Exited()
	if err == nil && end.WaitStatus != uint32(code)<<8 {
		err = fmt.Errorf("%+v, want status %d", end, code)
	}
	return err
}

// B9: the user database's own child is not lost to the reaping either: users that
// no file knows are found or not as ever.
func TestLookUpsWhileReaping(t *testing.T) {
	spawntest.NeedRoot(t) // to ask for users, and to be several
	d := spawntest.StartDaemon(t, spawntest.Under(spawntest.Helper(t, "spawntest-subreaper")),
		spawntest.Args("--socket-mode", "0666", "--allow-user", "*"))
	openUp(t, d)
	alive(t, d)
	descriptors := len(d.FDs())
	for i := range 40 {
		s := spawntest.Request(3, "true")
		s.User = fmt.Sprintf("nosuchuser%d", i)
		_, _, err := runOn(t, d.Connect(), s)
		refused(t, err, "no such user")
		uid := 3000000000 + i
		if text := output(t, d.ConnectAs(numeric(uid, 1)), "sh", "-c", "echo $USER"); text != fmt.Sprintln(uid) {
			t.Errorf("the user is %q", text)
		}
	}
	d.Settle(t, descriptors)
}

// B8, F2: clients that are killed at every moment, between their own start and the end
// of what they run.
func TestClientsKilledAtRandom(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "1s"))
	alive(t, d)
	descriptors := len(d.FDs())
	var clients sync.WaitGroup
	for worker := range 4 {
		clients.Go(func() {
			for i := range spawntest.Count(50, 500) {
				argv := [][]string{{"sleep", "100000"}, {"-t", "sleep", "100000"}, {"seq", "1000000"}, {"true"}}[(worker+i)%4]
				if err := killedAfter(d, time.Duration(i*i%97)*time.Millisecond/4, argv...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	d.Settle(t, descriptors)
	if s := status(t, d); s.Shells.Running != 0 {
		t.Errorf("status: %+v", s.Shells)
	}
}

// killedAfter runs a client that is killed after some time, if it has not ended by
// itself: the later, the further it has come.
func killedAfter(d *spawntest.Daemon, life time.Duration, argv ...string) error {
	client := d.Client(argv...)
	if err := client.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(life, func() { _ = client.Process.Kill() }) // it may have ended
	_ = client.Wait()                                                   // a kill is no failure here
	timer.Stop()
	return nil
}

// B7: a client sends signals without end while its shells end. Nothing but the shell
// gets them, and nothing is left.
func TestSignalsAroundTheEnd(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	null := spawntest.DevNull(t)
	bystander := d.Connect()
	if err := bystander.Start(spawntest.Request(3, "sleep", "100000"), null...); err != nil {
		t.Fatal(err)
	}
	m, _, err := bystander.Started()
	if err != nil {
		t.Fatal(err)
	}
	descriptors := len(d.FDs())
	message := slices.Repeat(wire.AppendSignal(nil, wire.Signal{Number: uint32(unix.SIGTERM), Seq: 1}), 50)
	for range spawntest.Count(300, 5000) {
		c := d.Connect()
		if err := c.Start(spawntest.Request(3, "true"), null...); err != nil {
			t.Fatal(err)
		}
		_ = c.Send(message) // it may have ended
		if _, _, err := c.Started(); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	d.SettleChildren(t, descriptors, 1)
	if !spawntest.Alive(int(m.PID)) {
		t.Error("another shell has ended")
	}
	if strings.Contains(d.Log(), "level=ERROR") {
		t.Error("there are errors in the log")
	}
}
