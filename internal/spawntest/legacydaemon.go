package spawntest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// LegacyDaemon is a daemon of the old dialect, written from the description of
// the protocol alone: it shares no code with the product. It listens where
// DPREFIX leads a client, and serves one connection at a time, as a test tells it.
//
// It has the weakness of the original: what one read gives it is the whole of
// a header or payload, or it gives up.
type LegacyDaemon struct {
	Prefix string // for DPREFIX
	Socket string
	Who    Who

	t        testing.TB
	listener *net.UnixListener
}

// LegacyMessage is one command that a client has sent.
type LegacyMessage struct {
	Command uint16
	Payload string
}

// String is the command's number and its payload, for messages of a test.
func (m LegacyMessage) String() string { return fmt.Sprintf("%d %q", m.Command, m.Payload) }

// LegacyConn is one connection to a LegacyDaemon.
type LegacyConn struct {
	Request []LegacyMessage // up to and with GO
	Files   []*os.File      // stdin, stdout and stderr

	t    testing.TB
	conn *net.UnixConn
}

// StartLegacyDaemon listens for clients of who. The test's end closes it.
func StartLegacyDaemon(t testing.TB, who Who) *LegacyDaemon {
	t.Helper()
	d := &LegacyDaemon{t: t, Who: who, Prefix: who.TempDir(t)}
	run := filepath.Join(d.Prefix, "var", "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Socket = filepath.Join(run, "shellspawn.sock")
	var err error
	d.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: d.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.listener.Close() })
	if err := os.Chmod(d.Socket, 0o777); err != nil {
		t.Fatal(err)
	}
	return d
}

// Client returns a command that runs darling-shell as the daemon's user, with
// DPREFIX naming this daemon and an environment that holds nothing of the test's own.
func (d *LegacyDaemon) Client(args ...string) *exec.Cmd {
	cmd := exec.Command(ClientPath(d.t), args...)
	cmd.Env = []string{"PATH=/bin:/usr/bin", "HOME=" + d.Prefix, "TERM=xterm", "DPREFIX=" + d.Prefix, "TMPDIR=/var/tmp"}
	cmd.Dir = d.Prefix
	return d.Who.As(cmd)
}

// Accept waits for the next client.
func (d *LegacyDaemon) Accept() *LegacyConn {
	d.t.Helper()
	_ = d.listener.SetDeadline(time.Now().Add(Deadline)) // fails only when closed
	conn, err := d.listener.AcceptUnix()
	if err != nil {
		d.t.Fatalf("wait for a client: %v", err)
	}
	_ = conn.SetDeadline(time.Now().Add(Deadline))
	c := &LegacyConn{t: d.t, conn: conn}
	d.t.Cleanup(c.Close)
	return c
}

// AcceptRequest waits for the next client and for its whole request.
func (d *LegacyDaemon) AcceptRequest() *LegacyConn {
	d.t.Helper()
	c := d.Accept()
	if err := c.ReadRequest(); err != nil {
		d.t.Fatalf("read the request: %v", err)
	}
	return c
}

// Serve serves the next client to its end, and says in the end what went wrong.
// It may be called from any goroutine but ends no test.
func (d *LegacyDaemon) Serve() <-chan error {
	done := make(chan error, 1)
	go func() {
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			done <- err
			return
		}
		c := &LegacyConn{t: d.t, conn: conn}
		defer c.Close()
		if err = c.ReadRequest(); err == nil {
			err = c.run()
		}
		done <- err
	}()
	return done
}

// ReadRequest reads commands up to GO. An error is what makes the original
// close the connection.
func (c *LegacyConn) ReadRequest() error {
	for {
		m, files, err := c.read()
		if err != nil {
			return err
		}
		c.Request = append(c.Request, m)
		if m.Command != LegacyGo {
			for _, f := range files {
				_ = f.Close() // they belong to nothing
			}
			continue
		}
		if len(files) != 3 {
			return fmt.Errorf("GO with %d descriptors", len(files))
		}
		c.Files = files
		return nil
	}
}

// Next waits for a command after GO; it is io.EOF if the client is gone.
func (c *LegacyConn) Next() (LegacyMessage, error) {
	m, _, err := c.read()
	return m, err
}

// read takes a header with one read and its payload with one more.
func (c *LegacyConn) read() (m LegacyMessage, files []*os.File, err error) {
	header, control := make([]byte, 4), make([]byte, unix.CmsgSpace(16*4))
	n, controlled, _, _, err := c.conn.ReadMsgUnix(header, control)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, io.EOF
	}
	if files, err = received(control[:controlled]); err != nil {
		return m, files, err
	}
	if n < len(header) {
		return m, files, fmt.Errorf("header of %d bytes", n)
	}
	m.Command = binary.NativeEndian.Uint16(header)
	payload := make([]byte, binary.NativeEndian.Uint16(header[2:]))
	if len(payload) == 0 {
		return m, files, nil
	}
	n, err = c.conn.Read(payload)
	if err == nil && n < len(payload) {
		err = fmt.Errorf("%d of %d bytes of command %d in one read", n, len(payload), m.Command)
	}
	m.Payload = string(payload[:n])
	return m, files, err
}

// received makes files of the descriptors in a control message.
func received(control []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "from the client"))
		}
	}
	return files, nil
}

// rights is the control message that carries descriptors, nil for none.
func rights(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return unix.UnixRights(fds...)
}

// gone tells a peer that has closed the connection from other errors.
func gone(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF)
}

// Start starts what the request asks for, as leader of a session of its own, on
// the terminal if stdin is one.
func (c *LegacyConn) Start() (*exec.Cmd, error) {
	argv, path := []string{"/bin/bash", "--login"}, "/bin/bash"
	cmd := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	for _, m := range c.Request {
		text, _, _ := strings.Cut(m.Payload, "\x00")
		switch m.Command {
		case LegacyAddArg:
			argv = append(argv, text)
		case LegacySetEnv:
			cmd.Env = append(cmd.Env, text)
		case LegacySetExec:
			path, argv = text, nil
		case LegacyChdir:
			if _, err := os.Stat(text); err == nil {
				cmd.Dir = text
			}
		}
	}
	cmd.Path, cmd.Args = path, argv
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Files[0], c.Files[1], c.Files[2]
	_, err := unix.IoctlGetTermios(int(c.Files[0].Fd()), unix.TCGETS)
	cmd.SysProcAttr.Setctty = err == nil
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.CloseFiles()
	return cmd, nil
}

// run runs what was asked for and reports its exit status, which for a shell
// killed by a signal is 0, as with the original.
func (c *LegacyConn) run() error {
	cmd, err := c.Start()
	if err != nil {
		return nil // the original closes without a status
	}
	go c.passSignals(cmd.Process.Pid)
	_ = cmd.Wait() // the status is in ProcessState
	return c.end(int(cmd.ProcessState.Sys().(syscall.WaitStatus)) >> 8 & 0xff)
}

// passSignals signals the leader of the foreground job, or the group of the shell.
// A client that is gone ends the shell.
func (c *LegacyConn) passSignals(shell int) {
	for {
		m, err := c.Next()
		if err != nil || m.Command != LegacySignal || len(m.Payload) != 4 {
			_ = unix.Kill(shell, unix.SIGKILL) // it may have ended
			return
		}
		sig := syscall.Signal(binary.NativeEndian.Uint32([]byte(m.Payload)))
		p, _ := Inspect(shell)
		if p.Foreground <= 1 || unix.Kill(p.Foreground, sig) != nil {
			_ = unix.Kill(-shell, sig)
		}
	}
}

// Answer sends bytes of the test's own making.
func (c *LegacyConn) Answer(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil && !gone(err) {
		c.t.Errorf("answer the client: %v", err)
	}
}

// End reports an exit status and closes the connection.
func (c *LegacyConn) End(status int) {
	c.t.Helper()
	if err := c.end(status); err != nil {
		c.t.Errorf("report the exit status: %v", err)
	}
	c.Close()
}

func (c *LegacyConn) end(status int) error {
	_, err := c.conn.Write(binary.NativeEndian.AppendUint32(nil, uint32(status)))
	if err != nil && gone(err) {
		return nil
	}
	return err
}

// Close closes the connection and the client's files. It may be called more
// than once.
func (c *LegacyConn) Close() {
	c.CloseFiles()
	_ = c.conn.Close() // the client may have closed it
}

// CloseFiles closes the client's files, as a daemon does whose shell has them.
func (c *LegacyConn) CloseFiles() {
	for _, f := range c.Files {
		_ = f.Close() // whoever needs them has their own
	}
}
