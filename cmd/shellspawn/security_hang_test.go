package main_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// deadFileSystem mounts a file system that answers nothing, as one on a server
// that has gone. Whoever looks into it waits: where taken is set the question has been
// received, and from then on not even SIGKILL ends the wait, see fuse(4). It lasts
// until abort is called, or the end of the test.
func deadFileSystem(t *testing.T, taken bool) (dir string, abort func()) {
	t.Helper()
	spawntest.NeedRoot(t) // to mount
	dir = spawntest.Self().TempDir(t)
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device)
	if err := unix.Mount("dead", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(device)
		t.Fatal(os.NewSyscallError("mount", err))
	}
	if err := beginFuse(device); err != nil {
		t.Error(err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	if taken {
		reader.Go(func() { takeQuestions(device, stop) })
	}
	abort = sync.OnceFunc(func() {
		_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes eight bytes
		reader.Wait()
		_ = unix.Close(device) // all who wait get an error
		_ = unix.Close(stop)
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(os.NewSyscallError("umount", err))
		}
	})
	t.Cleanup(abort)
	return dir, abort
}

// beginFuse answers the first question, FUSE_INIT, after which the file system is in
// use.
func beginFuse(device int) error {
	question := make([]byte, 64<<10)
	n, err := unix.Read(device, question)
	if err != nil || n < 40 {
		return fmt.Errorf("read FUSE_INIT: %d bytes, %v", n, err)
	}
	ne := binary.NativeEndian
	answer := ne.AppendUint32(nil, 16+64)
	answer = ne.AppendUint32(answer, 0)                       // no error
	answer = ne.AppendUint64(answer, ne.Uint64(question[8:])) // the question's number
	answer = ne.AppendUint32(answer, 7)                       // version 7.23
	answer = ne.AppendUint32(answer, 23)
	answer = append(answer, make([]byte, 12)...)
	answer = ne.AppendUint32(answer, 4096) // most bytes in one write
	_, err = unix.Write(device, append(answer, make([]byte, 16+64-len(answer))...))
	return err
}

func takeQuestions(device, stop int) {
	question := make([]byte, 64<<10)
	for {
		fds := []unix.PollFd{{Fd: int32(device), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		if fds[0].Revents != 0 {
			_, _ = unix.Read(device, question) // it may have been taken back
		}
	}
}

// served measures that others are served: it fails the test unless it returns within
// its deadline.
func served(t *testing.T, d *spawntest.Daemon, n int) {
	t.Helper()
	for range n {
		alive(t, d)
	}
}

// A program or a directory on a file system that does not answer: the start is given
// up at the deadline, its client told, and nothing left behind.
func TestStartThatHangs(t *testing.T) {
	dir, _ := deadFileSystem(t, false)
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", "5s"))
	alive(t, d)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	inside := spawntest.Request(3, "true")
	inside.Dir, inside.DirRequired = dir, true
	var hanging []*spawntest.Conn
	for _, s := range []*wire.Start{
		spawntest.Request(3, filepath.Join(dir, "program")), terminalRequest(3, filepath.Join(dir, "program")), inside,
	} {
		c := d.Connect()
		if err := c.Start(s, null...); err != nil {
			t.Fatal(err)
		}
		hanging = append(hanging, c)
	}
	served(t, d, 20)
	for _, c := range hanging {
		_, _, err := c.Started()
		refused(t, err, "deadline", "does not answer")
		c.Close()
	}
	d.Settle(t, before)
	if s := status(t, d); s.Shells.Refused["timeout"] != 3 {
		t.Errorf("refused: %v", s.Shells.Refused)
	}
}

// turnsOfOne is how many starts of one user can hang while nobody else's do.
const turnsOfOne = 4

// The same where the kernel lets nobody give up. Many such starts hold some threads of the
// daemon, and their user waits for himself; nobody else does.
func TestStartThatHangsForEver(t *testing.T) {
	dir, abort := deadFileSystem(t, true)
	d := forEverybody(t, "--allow-user", "*", "--request-timeout", "5s")
	alive(t, d)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	rude := numeric(20001, 20001)
	var stuck []*spawntest.Conn
	for range 100 {
		c := d.ConnectAs(rude)
		if err := c.Start(spawntest.Request(3, filepath.Join(dir, "program")), null...); err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, c)
	}
	served(t, d, 50)
	if text := output(t, d.ConnectAs(numeric(20002, 20002)), "echo", "me too"); text != "me too\n" {
		t.Errorf("another user gets %q", text)
	}
	// Some hold turns for ever. The others of the user get none in time, and are told.
	answers := make(chan error, len(stuck))
	for _, c := range stuck {
		go func() {
			_, _, err := c.Started()
			answers <- err
		}()
	}
	for range len(stuck) - turnsOfOne {
		refused(t, <-answers, "earlier requests of this user")
	}
	served(t, d, 5)
	if n := d.Threads(); n > 40 {
		t.Errorf("the daemon has %d threads", n)
	}
	abort()
	for range turnsOfOne {
		refused(t, <-answers, "deadline")
	}
	for _, c := range stuck {
		c.Close()
	}
	d.Settle(t, before)
	if text := output(t, d.ConnectAs(rude), "echo", "back"); text != "back\n" {
		t.Errorf("the user gets %q", text)
	}
}

// Starts that hang block threads, and one more than the machine allows was the end of the
// daemon. So it makes none for them: what it has suffices for all that hang at once.
func TestHangAtTheLimitOfTasks(t *testing.T) {
	dir, abort := deadFileSystem(t, true)
	group := pidsGroup(t)
	d := forEverybody(t, "--allow-user", "*", "--request-timeout", "5s")
	alive(t, d)
	before := len(d.FDs())
	group.add(t, d.PID)
	group.limit(t, strconv.Itoa(d.Threads()+10))
	for _, uid := range []int{20001, 20002} {
		pile(t, d, numeric(uid, uid), 14, spawntest.Request(3, filepath.Join(dir, "program")))
	}
	// The second user gets half of what the first has left.
	spawntest.Eventually(t, "starts that hang", func() bool { return len(d.Children()) == turnsOfOne+turnsOfOne/2 })
	served(t, d, 20)
	if text := output(t, d.ConnectAs(numeric(20003, 20003)), "echo", "me too"); text != "me too\n" {
		t.Errorf("another user gets %q", text)
	}
	abort()
	d.Settle(t, before)
	group.remove(t, d)
}

// crowded starts a daemon for everybody that has room for 200 connections which have
// asked for nothing yet.
func crowded(t *testing.T) *spawntest.Daemon {
	t.Helper()
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Under("prlimit", "--nofile=800:800"),
		spawntest.Args("--socket-mode", "0666", "--allow-user", "*", "--request-timeout", "3s"))
	openUp(t, d)
	alive(t, d)
	return d
}

// pile opens n connections of somebody and sends a request on each.
func pile(t *testing.T, d *spawntest.Daemon, who spawntest.Who, n int, s *wire.Start) {
	t.Helper()
	null := spawntest.DevNull(t)
	for range n {
		if err := d.ConnectAs(who).Start(s, null...); err != nil {
			t.Fatal(err)
		}
	}
}

// A user all of whose turns hang for ever, and who goes on asking, does not fill up the
// room for connections that wait: he is told at once, and his connections are closed.
func TestHangingUserLeavesRoom(t *testing.T) {
	dir, abort := deadFileSystem(t, true)
	d := crowded(t)
	before := len(d.FDs())
	rude := numeric(20001, 20001)
	pile(t, d, rude, 100, spawntest.Request(3, filepath.Join(dir, "program")))
	for range 3 {
		pile(t, d, rude, 150, spawntest.Request(3, "true"))
		served(t, d, 10)
	}
	refusedAtOnce := d.ConnectAs(rude)
	if err := refusedAtOnce.Start(spawntest.Request(3, "true"), spawntest.DevNull(t)...); err != nil {
		t.Fatal(err)
	}
	_, _, err := refusedAtOnce.Started()
	refused(t, err, "of this user")
	abort()
	d.Settle(t, before)
	if text := output(t, d.ConnectAs(rude), "echo", "back"); text != "back\n" {
		t.Errorf("the user gets %q", text)
	}
}

// What a user leaves lying in the daemon, requests that never become complete and have
// brought descriptors, is bounded.
func TestHalfRequestsAreBounded(t *testing.T) {
	d := crowded(t)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	rude := numeric(20001, 20001)
	request := wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(3, "true"))
	for range 100 {
		if err := d.ConnectAs(rude).Send(request[:len(request)-1], null...); err != nil {
			t.Fatal(err)
		}
	}
	spawntest.Eventually(t, "refusal", func() bool { return status(t, d).Shells.Refused["busy"] > 0 })
	if n := len(d.FDs()); n > before+4*30 {
		t.Errorf("%d descriptors after %d", n, before)
	}
	if text := output(t, d.ConnectAs(rude), "echo", "in one piece"); text != "in one piece\n" {
		t.Errorf("the user gets %q", text)
	}
	served(t, d, 10)
	d.Settle(t, before)
}

// The same with descriptors whose close hangs, which a connection holds unread. Anybody can
// make such; their wait is interrupted.
func TestLingeringDescriptorsLeaveRoom(t *testing.T) {
	d := crowded(t)
	before := len(d.FDs())
	rude := numeric(20001, 20001)
	request := wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(3, "true"))
	d.Freeze() // so that the daemon is the one who closes last
	for range 40 {
		peer := d.ConnectAs(rude)
		fd, _ := lingering(t)
		if err := peer.Send(request, fd); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		peer.Close()
	}
	d.Thaw()
	for range 3 {
		pile(t, d, rude, 150, spawntest.Request(3, "true"))
		served(t, d, 10)
	}
	d.Settle(t, before)
}

// lingering is a socket whose last close takes an hour, as there is something to send and
// nobody reads. The caller closes it; end lets go of who hangs there.
func lingering(t *testing.T) (fd int, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fd = blocking(t, dialled)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}); err != nil {
		t.Fatal(err)
	}
	more := make([]byte, 1<<20)
	for err == nil {
		err = unix.Sendto(fd, more, unix.MSG_DONTWAIT, nil)
	}
	end = sync.OnceFunc(func() {
		_ = accepted.(*net.TCPConn).SetLinger(0) // reset the connection
		_ = accepted.Close()
	})
	t.Cleanup(end)
	return fd, end
}

// The close of a descriptor can take as long as the one who passed it likes. He can hold
// some threads with that, and nobody up but himself; also if he is not served at all.
func TestCloseThatHangs(t *testing.T) {
	request := wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(3, "true"))
	for _, c := range []struct {
		name  string
		args  []string
		begin func(peer *spawntest.Conn, null []int) error
		send  func(peer *spawntest.Conn, fd int, null []int) error
	}{
		{"of a wrong request", []string{"--allow-user", "*"}, nil, func(peer *spawntest.Conn, fd int, _ []int) error {
			return peer.Send(request, fd)
		}},
		{"of half a request", []string{"--allow-user", "*"}, nil, func(peer *spawntest.Conn, fd int, _ []int) error {
			return peer.Send(request[:30], fd)
		}},
		{"of a stranger", nil, nil, func(peer *spawntest.Conn, fd int, null []int) error {
			return peer.Send(request, fd, null[0], null[0])
		}},
		{"that came after the start", []string{"--allow-user", "*"}, func(peer *spawntest.Conn, null []int) error {
			if err := peer.Start(spawntest.Request(3, "sleep", "1000"), null...); err != nil {
				return err
			}
			_, _, err := peer.Started()
			return err
		}, func(peer *spawntest.Conn, fd int, _ []int) error {
			return peer.Send([]byte{0}, fd)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := forEverybody(t, c.args...)
			alive(t, d)
			before := len(d.FDs())
			null := spawntest.DevNull(t)
			var closers sync.WaitGroup
			var ends []func()
			var peers []*spawntest.Conn
			for range 40 {
				peer := d.ConnectAs(numeric(20001, 20001))
				peers = append(peers, peer)
				if c.begin == nil {
					continue
				}
				if err := c.begin(peer, null); err != nil {
					t.Fatal(err)
				}
			}
			for _, peer := range peers {
				fd, end := lingering(t)
				ends = append(ends, end)
				if err := c.send(peer, fd, null); err != nil {
					t.Error(err)
				}
				// Whoever closes last hangs. Should it be the test, there is one less to
				// hang the daemon.
				closers.Go(func() { _ = unix.Close(fd) })
				peer.Close()
			}
			served(t, d, 50)
			if n := d.Threads(); n > 40 {
				t.Errorf("the daemon has %d threads", n)
			}
			for _, end := range ends {
				end()
			}
			closers.Wait()
			d.Settle(t, before)
		})
	}
}

// While all turns of root are taken by starts that hang, root still learns how the daemon
// is doing, and so does the daemon itself; and root's shells that run can be signalled, hung
// up and left.
func TestControlWhileStartsHang(t *testing.T) {
	dir, abort := deadFileSystem(t, true)
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", "3s"))
	null := spawntest.DevNull(t)
	alive(t, d)
	before := len(d.FDs())
	shells := make([]*spawntest.Conn, 3)
	for i := range shells {
		shells[i] = d.Connect()
		if err := shells[i].Start(spawntest.Request(3, "sleep", "1000"), null...); err != nil {
			t.Fatal(err)
		}
		if _, _, err := shells[i].Started(); err != nil {
			t.Fatal(err)
		}
	}
	const more = 20
	stuck := make([]*spawntest.Conn, more)
	for i := range stuck {
		stuck[i] = d.Connect()
		if err := stuck[i].Start(spawntest.Request(3, filepath.Join(dir, "program")), null...); err != nil {
			t.Fatal(err)
		}
	}
	spawntest.Eventually(t, "start without a turn", func() bool { return status(t, d).Shells.Refused["busy"] > 0 })
	rows := running(t, d, len(shells))
	if err := shells[0].Send(wire.AppendSignal(nil, wire.Signal{Number: uint32(unix.SIGTERM), Seq: 1})); err != nil {
		t.Fatal(err)
	}
	must(t, d, "kill", jsonNumber(rows[1].ID))
	shells[2].Close()
	running(t, d, 0)
	for _, c := range shells[:2] {
		c.Close()
	}
	spawntest.Eventually(t, "answer to the last start", func() bool { return status(t, d).Shells.Refused["busy"] == more-turnsOfOne })
	held := len(d.FDs())
	for range 10 {
		status(t, d)
	}
	spawntest.Eventually(t, "end of all that were answered", func() bool { return len(d.FDs()) <= held })
	abort()
	for _, c := range stuck {
		c.Close()
	}
	d.Settle(t, before)
}
