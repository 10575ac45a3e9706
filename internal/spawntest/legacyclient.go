package spawntest

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The commands of the old dialect.
const (
	LegacyAddArg    = 1
	LegacySetEnv    = 2
	LegacyChdir     = 3
	LegacyGo        = 4
	LegacySignal    = 5
	LegacySetUIDGID = 6
	LegacySetExec   = 7
)

// LegacyFrame is one command of the old dialect in bytes: command and length in
// host order, then the payload.
func LegacyFrame(command uint16, payload []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, command)
	b = binary.NativeEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

// LegacyText is a command with a string, whose NUL is counted.
func LegacyText(command uint16, text string) []byte {
	return LegacyFrame(command, append([]byte(text), 0))
}

// LegacyNumbers is a command with 32-bit numbers.
func LegacyNumbers(command uint16, numbers ...int) []byte {
	var payload []byte
	for _, n := range numbers {
		payload = binary.NativeEndian.AppendUint32(payload, uint32(n))
	}
	return LegacyFrame(command, payload)
}

// LegacyClient is a client of the old dialect, written from the description of
// the protocol alone: it shares no code with the product. It sends what a test
// tells it to, right or wrong.
type LegacyClient struct {
	t    testing.TB
	conn *net.UnixConn
}

// DialLegacy connects to a daemon as who. The connection is closed after the
// test.
func DialLegacy(t testing.TB, socket string, who Who) *LegacyClient {
	t.Helper()
	fd, err := connectAs(socket, who)
	if err != nil {
		t.Fatalf("connect %s: %v", socket, err)
	}
	file := os.NewFile(uintptr(fd), "legacy client")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &LegacyClient{t: t, conn: conn.(*net.UnixConn)}
	_ = c.conn.SetDeadline(time.Now().Add(Deadline)) // fails only on a closed connection
	t.Cleanup(c.Close)
	return c
}

// connectAs connects with the effective identity of who, which is what the
// daemon sees. Threads have identities of their own, see nptl(7), so it is
// changed in this one alone.
func connectAs(socket string, who Who) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if who.UID != os.Getuid() {
		become(who.UID, who.GID)
		defer become(os.Getuid(), os.Getgid())
	}
	return fd, unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
}

// become changes the thread's effective identity; root's real one stays, and is
// the way back. The order serves both ways: only root may change the group.
func become(uid, gid int) {
	const keep = ^uintptr(0)
	if uid != 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(gid), keep)
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep)
	if uid == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(gid), keep)
	}
}

// Send writes bytes, with the files as descriptors on the first of them. It is
// one system call, unless the daemon does not keep up. A daemon that has closed the
// connection is no failure of the test: what it answered tells.
func (c *LegacyClient) Send(b []byte, files ...*os.File) {
	c.t.Helper()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	c.SendControl(b, rights(fds))
	runtime.KeepAlive(files)
}

// SendControl is Send with a control message of the test's own making.
func (c *LegacyClient) SendControl(b, control []byte) {
	c.t.Helper()
	n, _, err := c.conn.WriteMsgUnix(b, control, nil)
	if err == nil && n < len(b) {
		_, err = c.conn.Write(b[n:])
	}
	if err != nil && !gone(err) {
		c.t.Errorf("send to the daemon: %v", err)
	}
}

// Text sends a command with a string.
func (c *LegacyClient) Text(command uint16, text string) {
	c.t.Helper()
	c.Send(LegacyText(command, text))
}

// Go asks for the start, with stdin, stdout and stderr.
func (c *LegacyClient) Go(files ...*os.File) {
	c.t.Helper()
	c.Send(LegacyFrame(LegacyGo, nil), files...)
}

// Signal asks for a signal to be passed on.
func (c *LegacyClient) Signal(sig unix.Signal) {
	c.t.Helper()
	c.Send(LegacyNumbers(LegacySignal, int(sig)))
}

// Status waits until the daemon closes the connection and returns the exit
// status; ok is false if none came.
func (c *LegacyClient) Status() (status int32, ok bool) {
	c.t.Helper()
	answer, err := io.ReadAll(c.conn)
	if err != nil && !gone(err) {
		c.t.Fatalf("wait for the daemon: %v", err)
	}
	if len(answer) == 4 {
		return int32(binary.NativeEndian.Uint32(answer)), true
	}
	if len(answer) > 0 {
		c.t.Errorf("the daemon answered % x", answer)
	}
	return 0, false
}

// Close closes the connection. It may be called more than once.
func (c *LegacyClient) Close() { _ = c.conn.Close() }
