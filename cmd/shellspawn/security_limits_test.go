package main_test

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// sleeper asks for a shell that stays until its client goes.
func sleeper(t *testing.T, c *spawntest.Conn) error {
	t.Helper()
	if err := c.Start(spawntest.Request(3, "sleep", "100000"), spawntest.DevNull(t)...); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Started()
	return err
}

// E5: limits in total and per user. The refusal says which, is counted, and whoever is
// below his limit does not notice that somebody else is at his.
func TestLimits(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*", "--max-shells", "5", "--max-shells-per-user", "2")
	a, b := numeric(20001, 20001), numeric(20002, 20002)
	var open []*spawntest.Conn
	begin := func(who spawntest.Who) error {
		c := d.ConnectAs(who)
		err := sleeper(t, c)
		if err == nil {
			open = append(open, c)
		}
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(begin(a))
	must(begin(a))
	refused(t, begin(a), "limit of 2 per user", "--max-shells-per-user")
	must(begin(b))
	must(begin(b))
	refused(t, begin(b), "limit of 2 per user")
	must(begin(numeric(20003, 20003)))
	refused(t, begin(numeric(20004, 20004)), "limit of 5 in total", "--max-shells")
	s := status(t, d) // which needs no shell
	if s.Shells.Running != 5 || s.Shells.Refused["max-shells"] != 1 || s.Shells.Refused["max-shells-per-user"] != 2 {
		t.Errorf("status: %+v", s.Shells)
	}
	open[2].Close() // b's
	spawntest.Eventually(t, "free place", func() bool { return status(t, d).Shells.Running == 4 })
	refused(t, begin(a), "per user")
	must(begin(b))
}

// E5: whatever a request comes to, its place is free again; and at one instant no more are
// given than there are.
func TestPlacesComeBack(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--max-shells", "3"))
	null := spawntest.DevNull(t)
	inside := spawntest.Request(3, "true")
	inside.Dir, inside.DirRequired = "/nonexistent", true
	for range 20 {
		for _, s := range []*wire.Start{spawntest.Request(3, "nosuchprogram"), spawntest.Request(3, "/etc/passwd"), inside, spawntest.Request(2, "true")} {
			c := d.Connect()
			if err := c.Start(s, null...); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Started(); err == nil {
				t.Error("it started")
			}
			c.Close()
		}
	}
	var mu sync.Mutex
	var clients sync.WaitGroup
	began := 0
	for range 50 {
		clients.Go(func() {
			if sleeper(t, d.Connect()) == nil {
				mu.Lock()
				defer mu.Unlock()
				began++
			}
		})
	}
	clients.Wait()
	if began != 3 {
		t.Errorf("%d shells at once", began)
	}
}

// E5: a user at the limit who goes on asking, again and again, does not keep others
// from being served.
func TestUserAtTheLimitIsNoBurden(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*", "--max-shells-per-user", "1")
	rude := numeric(20001, 20001)
	if err := sleeper(t, d.ConnectAs(rude)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	null := spawntest.DevNull(t)
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := spawntest.DialAs(d.Socket, rude)
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Start(spawntest.Request(3, "true"), null...); err == nil {
					_, _, err = c.Started()
					refused(t, err, "per user")
				}
				c.Close()
			}
		})
	}
	for range 50 {
		if text := output(t, d.ConnectAs(numeric(20002, 20002)), "echo", "polite"); text != "polite\n" {
			t.Errorf("got %q", text)
		}
	}
	close(stop)
	clients.Wait()
}

// F3: out of ptys. That one start fails and says why; what runs goes on, shells without
// a terminal start, and a pty that was given back serves the next.
func TestOutOfPtys(t *testing.T) {
	spawntest.NeedRoot(t) // to mount a devpts with few ptys, as those of the machine are everybody's
	d := spawntest.StartDaemon(t, fewPtys(t, "4"))
	alive(t, d)
	descriptors := len(d.FDs())
	crowd := &crowd{t: t}
	defer crowd.disperse()
	request := func() (*wire.Start, []int) { return terminalRequest(0, "sleep", "100000"), nil }
	crowd.gather(d, 4, request)
	for range 20 {
		refused(t, crowd.start(d, request), "open pty: no space left", "ptys")
	}
	alive(t, d)
	if n := len(d.Children()); n != 4 {
		t.Errorf("%d shells", n)
	}
	_ = unix.Close(crowd.ptys[0]) // hangs up
	crowd.ptys = crowd.ptys[1:]
	crowd.conns[0].Close()
	spawntest.Eventually(t, "free pty", func() bool { return crowd.start(d, request) == nil })
	crowd.disperse()
	d.Settle(t, descriptors)
}

// F3: out of processes, by the limit of the user. Neither a child nor a thread can be
// made then, and the daemon lives.
func TestOutOfProcesses(t *testing.T) {
	who := spawntest.Ordinary()
	d := spawntest.StartDaemon(t, spawntest.AsUser(who))
	openUp(t, d)
	alive(t, d)
	staying := d.Connect()
	if err := sleeper(t, staying); err != nil {
		t.Fatal(err)
	}
	descriptors := len(d.FDs())
	// The limit is on all processes of the user, and there are some already.
	raise := lower(t, d, unix.RLIMIT_NPROC, 1)
	starve(t, d, "clone: resource temporarily unavailable", "no more processes")
	raise()
	served(t, d, 10)
	d.SettleChildren(t, descriptors, 1)
}

// starve asks for many shells at once that cannot be started.
func starve(t *testing.T, d *spawntest.Daemon, parts ...string) {
	t.Helper()
	null := spawntest.DevNull(t)
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Go(func() {
			c := d.Connect()
			defer c.Close()
			s := spawntest.Request(3, "true")
			if i%2 == 0 {
				s = terminalRequest(3, "true")
			}
			if err := c.Start(s, null...); err != nil {
				t.Error(err)
				return
			}
			_, _, err := c.Started()
			refused(t, err, parts...)
		})
	}
	clients.Wait()
	status := d.Connect()
	if err := status.Send(wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: "status"})); err != nil {
		t.Fatal(err)
	}
	if _, err := status.Reply(); err != nil {
		t.Error(err)
	}
}

// F3: out of processes, by the limit of a control group, which binds root as well.
func TestOutOfTasks(t *testing.T) {
	spawntest.NeedRoot(t)
	group := pidsGroup(t)
	d := spawntest.StartDaemon(t)
	alive(t, d)
	if err := sleeper(t, d.Connect()); err != nil {
		t.Fatal(err)
	}
	descriptors := len(d.FDs())
	group.add(t, d.PID)
	group.limit(t, "0")
	starve(t, d, "clone: resource temporarily unavailable", "no more processes")
	group.limit(t, "max")
	served(t, d, 10)
	d.SettleChildren(t, descriptors, 1)
	group.remove(t, d)
}

// F3: out of descriptors, at each point of a start. That start fails and says so, or
// waits in the accept queue; everything else lives.
func TestOutOfDescriptorsInAStart(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	staying := d.Connect()
	if err := sleeper(t, staying); err != nil {
		t.Fatal(err)
	}
	spawntest.Quiet(t, d.PID)
	descriptors := len(d.FDs())
	refusals := 0
	for room := range 10 {
		for _, s := range []*wire.Start{spawntest.Request(3, "true"), terminalRequest(0, "true")} {
			c := d.Connect()
			spawntest.Eventually(t, "accepted", func() bool { return len(d.FDs()) == descriptors+1 })
			raise := lower(t, d, unix.RLIMIT_NOFILE, roomFor(d, room))
			if err := c.Start(s, spawntest.DevNull(t)[:len(s.Stdio)]...); err != nil {
				t.Fatal(err)
			}
			_, master, err := c.Started()
			if err != nil {
				refused(t, err, "too many open files", "no descriptor left")
				refusals++
			} else if _, err := c.Exited(); err != nil {
				t.Error(err)
			}
			if master >= 0 {
				_ = unix.Close(master)
			}
			raise()
			c.Close()
			d.SettleChildren(t, descriptors, 1)
		}
	}
	if refusals < 4 {
		t.Errorf("%d starts failed", refusals)
	}
	served(t, d, 10)
}

// roomFor is the limit on descriptors with which the daemon may open n more.
func roomFor(d *spawntest.Daemon, n int) (limit uint64) {
	open := d.FDs()
	for free := 0; ; limit++ {
		if _, taken := open[int(limit)]; taken {
			continue
		}
		if free++; free > n {
			return limit
		}
	}
}
