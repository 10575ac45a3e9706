package main_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/tty"
)

// ending is a stream of a client at which there is nothing more to do, and how one sees
// that the client has got there.
type ending struct {
	name    string
	flag    string // -t or -T
	program string
	streams func(t *testing.T, cmd *exec.Cmd) (there func() bool)
}

// ignores is a program that stays when it is hung up.
const ignores = `trap "" HUP; echo here; exec sleep 1000`

var endings = []ending{
	{"end of stdin, pipes", "-T", ignores, endOfInput},
	{"end of stdin, pty", "-t", ignores, endOfInput},
	{"input that is not read", "-t", "stty raw -echo; exec sleep 1000", inputNotRead},
	{"stopped reader", "-t", "exec yes", stoppedReader},
	{"stopped reader, non-blocking", "-t", "exec yes", stoppedReaderNonblocking},
	{"reader that has gone", "-t", ignores, readerGone},
	{"terminal that has gone", "-t", ignores, terminalGone},
}

// F4: at the end of its input, with an output that takes nothing more, with its
// terminal hung up, the client waits, and so does the daemon: neither runs at all.
func TestF4ClientIsIdle(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "1h", "--shutdown-grace", "1s"))
	pids := []int{d.PID}
	for i, e := range endings {
		cmd := d.Client(e.flag, "sh", "-c", e.program)
		there := e.streams(t, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it waits for ever
			_ = cmd.Wait()
		})
		spawntest.Eventually(t, e.name+": shell", func() bool { return len(d.Children()) == i+1 })
		spawntest.Eventually(t, e.name, there)
		pids = append(pids, cmd.Process.Pid)
	}
	spawntest.Idle(t, pids...)
	if n := len(d.Children()); n != len(endings) {
		t.Errorf("%d shells, want %d", n, len(endings))
	}
	for i, e := range endings {
		if !spawntest.Alive(pids[i+1]) {
			t.Errorf("%s: the client has ended", e.name)
		}
	}
}

// shown waits for what the program prints first.
func shown(t *testing.T, r *os.File) func() bool {
	return func() bool { return unread(t, r) > 0 }
}

// unread is how many bytes a pipe holds.
func unread(t *testing.T, r *os.File) int {
	t.Helper()
	n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func endOfInput(t *testing.T, cmd *exec.Cmd) func() bool {
	in, input := pipePair(t)
	output, out := pipePair(t)
	_ = input.Close() // that is the end
	cmd.Stdin, cmd.Stdout = in, out
	return shown(t, output)
}

func inputNotRead(t *testing.T, cmd *exec.Cmd) func() bool {
	in, input := pipePair(t)
	_, out := pipePair(t)
	cmd.Stdin, cmd.Stdout = in, out
	most := 60 << 10 // less than the pipe holds, more than the pty
	if _, err := input.Write(make([]byte, most)); err != nil {
		t.Fatal(err)
	}
	return func() bool { return unread(t, in) < most }
}

func stoppedReader(t *testing.T, cmd *exec.Cmd) func() bool { return stopped(t, cmd, 0) }

func stoppedReaderNonblocking(t *testing.T, cmd *exec.Cmd) func() bool {
	return stopped(t, cmd, unix.O_NONBLOCK)
}

// stopped makes a pipe of its own: one that package os makes is set to block when it is
// handed on.
func stopped(t *testing.T, cmd *exec.Cmd, flags int) func() bool {
	var fds [2]int
	if err := unix.Pipe2(fds[:], flags|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	output, out := os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "stdout")
	t.Cleanup(func() {
		_ = output.Close() // nobody has read it
		_ = out.Close()
	})
	in, _ := pipePair(t)
	cmd.Stdin, cmd.Stdout = in, out
	return func() bool {
		full := []unix.PollFd{{Fd: int32(out.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(full, 0)
		return n == 0 && err == nil
	}
}

func readerGone(t *testing.T, cmd *exec.Cmd) func() bool {
	in, _ := pipePair(t)
	output, out := pipePair(t)
	_ = output.Close() // nobody will read
	cmd.Stdin, cmd.Stdout = in, out
	return func() bool { return true }
}

// terminalGone takes the terminal away after the program has said something on it.
func terminalGone(t *testing.T, cmd *exec.Cmd) func() bool {
	master, subsidiary, err := tty.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	terminal, screen := os.NewFile(uintptr(subsidiary), "subsidiary"), os.NewFile(uintptr(master.FD), "master")
	t.Cleanup(func() { _ = terminal.Close() })
	cmd.Stdin, cmd.Stdout = terminal, terminal
	return func() bool {
		if unread(t, screen) == 0 {
			return false
		}
		_ = screen.Close() // that is the hang-up
		return true
	}
}
