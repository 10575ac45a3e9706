package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// The client, as seen by the daemon of a Darling container: one that knows the
// old dialect from its description and nothing of the product.

// legacyCall is a client that runs on pipes against such a daemon.
type legacyCall struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan struct{}
}

// legacyStart starts a client whose streams are pipes, but for those that it names.
func legacyStart(t *testing.T, cmd *exec.Cmd) *legacyCall {
	t.Helper()
	c := &legacyCall{t: t, cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &c.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &c.stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // judged by wait, from ProcessState
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most have ended
		<-c.done
	})
	return c
}

// wait waits for the client's end and returns its exit status, or -N if signal N
// killed it.
func (c *legacyCall) wait() int {
	c.t.Helper()
	ended := spawntest.Within(spawntest.Deadline, func() bool {
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	})
	if !ended {
		c.t.Fatalf("%.200q did not end", c.cmd.Args)
	}
	return spawntest.Code(c.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// text is a command with a string, as the original client sends it.
func text(command uint16, s string) spawntest.LegacyMessage {
	return spawntest.LegacyMessage{Command: command, Payload: s + "\x00"}
}

// numbers32 is a command with numbers.
func numbers32(command uint16, n ...int) spawntest.LegacyMessage {
	return spawntest.LegacyMessage{Command: command, Payload: string(spawntest.LegacyNumbers(command, n...)[4:])}
}

// legacyEnv is what precedes everything else: the container's own variables, and
// the client's without them.
func legacyEnv(t *testing.T, cmd *exec.Cmd, who spawntest.Who) []spawntest.LegacyMessage {
	t.Helper()
	u, err := user.LookupId(fmt.Sprint(who.UID))
	if err != nil {
		t.Fatal(err)
	}
	env := []spawntest.LegacyMessage{
		text(spawntest.LegacySetEnv, "PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"),
		text(spawntest.LegacySetEnv, "TMPDIR=/private/tmp"), text(spawntest.LegacySetEnv, "HOME=/Users/"+u.Username),
	}
	for _, v := range cmd.Env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "PATH", "TMPDIR", "HOME":
		default:
			env = append(env, text(spawntest.LegacySetEnv, v))
		}
	}
	return env
}

func legacyEnd(cmd *exec.Cmd, who spawntest.Who) []spawntest.LegacyMessage {
	return []spawntest.LegacyMessage{
		text(spawntest.LegacyChdir, "/Volumes/SystemRoot"+cmd.Dir),
		numbers32(spawntest.LegacySetUIDGID, who.UID, who.GID), {Command: spawntest.LegacyGo},
	}
}

// The messages, their order and every byte of them, for each form of call; the
// exit status is the daemon's.
func TestLegacyOrder(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartLegacyDaemon(t, who)
		arg := func(s string) spawntest.LegacyMessage { return text(spawntest.LegacyAddArg, s) }
		for name, row := range map[string]struct {
			args   []string
			middle []spawntest.LegacyMessage
		}{
			"no command":         {nil, nil},
			"a command":          {[]string{"echo", "it's", "", "a b"}, []spawntest.LegacyMessage{arg("-c"), arg(`'echo' 'it'\''s' '' 'a b'`)}},
			"one word":           {[]string{"ls"}, []spawntest.LegacyMessage{arg("-c"), arg(`'ls'`)}},
			"a string":           {[]string{"-c", "echo $HOME"}, []spawntest.LegacyMessage{arg("-c"), arg("echo $HOME")}},
			"a string with args": {[]string{"-c", `echo "$0"`, "zero"}, []spawntest.LegacyMessage{arg("-c"), arg(`echo "$0"`), arg("zero")}},
			"another shell":      {[]string{"--shell", "/bin/zsh"}, []spawntest.LegacyMessage{text(spawntest.LegacySetExec, "/bin/zsh"), arg("-zsh")}},
			"a relative command": {[]string{"--", "-x"}, []spawntest.LegacyMessage{arg("-c"), arg(`'-x'`)}},
		} {
			t.Run(name, func(t *testing.T) {
				cmd := d.Client(row.args...)
				cmd.Env = append(cmd.Env, "WEIRD=a=b\xff", "EMPTY=", "LISTEN_FDS=1", "PATHOLOGY=kept")
				c := legacyStart(t, cmd)
				conn := d.AcceptRequest()
				want := slices.Concat(legacyEnv(t, cmd, who), row.middle, legacyEnd(cmd, who))
				if !slices.Equal(conn.Request, want) {
					t.Errorf("the request is\n%v, want\n%v", conn.Request, want)
				}
				conn.End(42)
				if code := c.wait(); code != 42 || c.stderr.Len() != 0 {
					t.Errorf("status %d, want 42; stderr %q", code, &c.stderr)
				}
			})
		}
	})
}

// -e is sent last, -C changes the directory, -i leaves out all but what
// describes the terminal.
func TestLegacyOptions(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	cmd := d.Client("-i", "-e", "HOME=/elsewhere", "-e", "NEW=1", "-C", "sub", "true")
	cmd.Env = append(cmd.Env, "LC_ALL=C", "SECRET=1")
	c := legacyStart(t, cmd)
	conn := d.AcceptRequest()
	conn.End(0)
	c.wait()
	var env []string
	dir := ""
	for _, m := range conn.Request[3:] {
		switch m.Command {
		case spawntest.LegacySetEnv:
			env = append(env, strings.TrimSuffix(m.Payload, "\x00"))
		case spawntest.LegacyChdir:
			dir = strings.TrimSuffix(m.Payload, "\x00")
		}
	}
	if want := []string{"TERM=xterm", "LC_ALL=C", "HOME=/elsewhere", "NEW=1"}; !slices.Equal(env, want) {
		t.Errorf("environment %q, want %q", env, want)
	}
	if want := "/Volumes/SystemRoot" + cmd.Dir + "/sub"; dir != want {
		t.Errorf("directory %q, want %q", dir, want)
	}
}

// --legacy chooses the dialect for any socket, DPREFIX by itself.
func TestLegacyFlag(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for name, cmd := range map[string]*exec.Cmd{
		"DPREFIX":                 d.Client("true"),
		"flag":                    d.Client("--legacy", "--socket", d.Socket, "true"),
		"flag, SHELLSPAWN_SOCKET": d.Client("--legacy", "true"),
	} {
		if name != "DPREFIX" {
			cmd.Env = []string{"SHELLSPAWN_SOCKET=" + d.Socket}
		}
		c := legacyStart(t, cmd)
		d.AcceptRequest().End(7)
		if code := c.wait(); code != 7 {
			t.Errorf("%s: status %d, want 7; %s", name, code, &c.stderr)
		}
	}
}

// Without a terminal the three descriptors are the client's own, and it keeps
// none of them: the end of the streams is the program's to make. C1
func TestLegacyOwnDescriptors(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	cmd := d.Client("true")
	var ours [3]*os.File
	for i := range ours {
		f, err := os.Create(filepath.Join(d.Prefix, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ours[i] = f
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ours[0], ours[1], ours[2]
	c := legacyStart(t, cmd)
	conn := d.AcceptRequest()
	for i, f := range conn.Files {
		a, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b, err := ours[i].Stat()
		if err != nil || !os.SameFile(a, b) {
			t.Errorf("descriptor %d is not the client's (%v)", i, err)
		}
	}
	spawntest.Eventually(t, "client without stdin and stdout", func() bool {
		fds := spawntest.FDs(cmd.Process.Pid)
		return fds[0] == "/dev/null" && fds[1] == "/dev/null"
	})
	conn.End(0)
	c.wait()
}

// Quoting: through the daemon's shell every argument arrives byte for byte. C7
func TestLegacyQuoting(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(i + 1)
	}
	args := []string{"", string(all), "'", "''", `'\''`, `\`, "$HOME", "`id`", "a\nb\n", "*", "~", "-c", strings.Repeat("'", 9000)}
	c := legacyStart(t, d.Client(append([]string{spawntest.Helper(t, "spawntest-args")}, args...)...))
	served := d.Serve()
	if code := c.wait(); code != 0 {
		t.Errorf("status %d; %s", code, &c.stderr)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	var got [][]int
	if err := json.Unmarshal(c.stdout.Bytes(), &got); err != nil || len(got) != len(args) {
		t.Fatalf("%d arguments, want %d: %v; %s", len(got), len(args), err, &c.stderr)
	}
	for i, arg := range got {
		b := make([]byte, len(arg))
		for j, n := range arg {
			b[j] = byte(n)
		}
		if string(b) != args[i] {
			t.Errorf("argument %d is %q, want %q", i, b, args[i])
		}
	}
}

// The status is the daemon's word, and streams work as with any program.
func TestLegacyRun(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for _, row := range []struct {
		script, in, out, errs string
		code                  int
	}{
		{"exit 0", "", "", "", 0}, {"exit 255", "", "", "", 255},
		{"cat; echo error >&2; exit 9", "through", "through", "error\n", 9},
	} {
		cmd := d.Client("sh", "-c", row.script)
		cmd.Stdin = strings.NewReader(row.in)
		c := legacyStart(t, cmd)
		served := d.Serve()
		code := c.wait()
		if code != row.code || c.stdout.String() != row.out || c.stderr.String() != row.errs {
			t.Errorf("%s: status %d, stdout %q, stderr %q", row.script, code, &c.stdout, &c.stderr)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// Every status that a daemon can send, ours for signals among them.
func TestLegacyStatus(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for _, status := range []int{0, 1, 125, 126, 127, 137, 143, 255} {
		c := legacyStart(t, d.Client("true"))
		d.AcceptRequest().End(status)
		if code := c.wait(); code != status || c.stderr.Len() != 0 {
			t.Errorf("status %d, want %d; %s", code, status, &c.stderr)
		}
	}
}

// B3: a connection that closes without a status, or with half of one, is 125 and
// one line.
func TestLegacyNoStatus(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for name, end := range map[string]func(c *spawntest.LegacyConn){
		"after GO":          func(c *spawntest.LegacyConn) { _ = c.ReadRequest(); c.Close() },
		"before GO":         func(c *spawntest.LegacyConn) { c.Close() },
		"half of a status":  func(c *spawntest.LegacyConn) { _ = c.ReadRequest(); c.Answer([]byte{0, 0}); c.Close() },
		"foreign SETUIDGID": func(c *spawntest.LegacyConn) { _, _ = c.Next(); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c := legacyStart(t, d.Client("true"))
			end(d.Accept())
			if code := c.wait(); code != 125 {
				t.Errorf("status %d, want 125", code)
			}
			legacyLine(t, c.stderr.String(), d.Socket)
		})
	}
}

// legacyLine checks that a message is one line and holds each of the parts.
func legacyLine(t *testing.T, message string, parts ...string) {
	t.Helper()
	line := strings.TrimRight(message, "\r\n")
	if !strings.HasPrefix(line, "darling-shell: ") || strings.ContainsAny(line, "\r\n") {
		t.Errorf("message %q, want one line from darling-shell", message)
	}
	for _, part := range parts {
		if !strings.Contains(line, part) {
			t.Errorf("message %q does not name %q", message, part)
		}
	}
}

// Nobody there, and what the old dialect has no words for. B2, D4
func TestLegacyFailures(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	absent := d.Client("true")
	absent.Env = []string{"DPREFIX=/nowhere"}
	for name, row := range map[string]struct {
		cmd  *exec.Cmd
		code int
		say  string
	}{
		"absent":       {absent, 125, "/nowhere/var/run/shellspawn.sock"},
		"another user": {d.Client("-u", "nobody", "true"), 125, "user nobody"},
		"too long":     {d.Client("echo", strings.Repeat("x", 70000)), 126, "too large"},
	} {
		c := legacyStart(t, row.cmd)
		if row.cmd != absent {
			d.Accept() // and leave it to the client
		}
		if code := c.wait(); code != row.code {
			t.Errorf("%s: status %d, want %d", name, code, row.code)
		}
		first, _, _ := strings.Cut(c.stderr.String(), "\n")
		legacyLine(t, first, row.say)
	}
}

// The original daemon takes what one read gives it for the whole of a message.
// A request of any size reaches it so, however slowly it reads. (A single message
// over 36 KiB is more than the kernel hands over at once.)
func TestLegacyNeverSplit(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for _, size := range []int{10, 1000, 4093, 32000} {
		cmd := d.Client("true")
		for i := range 600000 / size {
			cmd.Env = append(cmd.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", size)))
			if i > 2000 {
				break
			}
		}
		c := legacyStart(t, cmd)
		conn := d.AcceptRequest()
		want := append(legacyEnv(t, cmd, d.Who), text(spawntest.LegacyAddArg, "-c"), text(spawntest.LegacyAddArg, "'true'"))
		want = append(want, legacyEnd(cmd, d.Who)...)
		if !slices.Equal(conn.Request, want) {
			t.Errorf("variables of %d bytes: %d messages differ from the %d sent", size, len(conn.Request), len(want))
		}
		conn.End(0)
		if code := c.wait(); code != 0 {
			t.Errorf("status %d; %s", code, &c.stderr)
		}
	}
}

// D10: a daemon of the old dialect closes at the tripwire of the new one's
// opening, and the client says what to do about it.
func TestLegacyDaemonForNewClient(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for name, stdin := range map[string][]byte{"on pipes": []byte("input"), "no input": nil} {
		t.Run(name, func(t *testing.T) {
			cmd := d.Client("true")
			cmd.Env = []string{"SHELLSPAWN_SOCKET=" + d.Socket}
			cmd.Stdin = bytes.NewReader(stdin)
			c := legacyStart(t, cmd)
			conn := d.Accept()
			if err := conn.ReadRequest(); err == nil || !strings.Contains(err.Error(), "GO with 0 descriptors") {
				t.Errorf("the old daemon reads the opening and says %v", err)
			}
			conn.Close()
			if code := c.wait(); code != 125 {
				t.Errorf("status %d, want 125", code)
			}
			if said := c.stderr.String(); !strings.Contains(said, "--legacy") || strings.Count(said, "\n") > 2 {
				t.Errorf("message %q, want a line, or a hint, with --legacy", said)
			}
		})
	}
}

// Without a terminal SIGTERM goes in place of SIGINT, all else as it is, and
// never what belongs to the client itself. B6
func TestLegacySignals(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	c := legacyStart(t, d.Client("sleep", "1000"))
	conn := d.AcceptRequest()
	awaitLetGo(t, c.cmd)
	for _, sig := range []syscall.Signal{unix.SIGURG, unix.SIGCHLD, unix.SIGWINCH} {
		if err := c.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range [][2]syscall.Signal{
		{unix.SIGTERM, unix.SIGTERM}, {unix.SIGINT, unix.SIGTERM}, {unix.SIGHUP, unix.SIGHUP}, {unix.SIGQUIT, unix.SIGQUIT},
		{unix.SIGUSR1, unix.SIGUSR1}, {unix.SIGUSR2, unix.SIGUSR2}, {unix.SIGALRM, unix.SIGALRM}, {unix.SIGTSTP, unix.SIGTSTP}, {unix.SIGCONT, unix.SIGCONT},
	} {
		if err := c.cmd.Process.Signal(row[0]); err != nil {
			t.Fatal(err)
		}
		expectSignal(t, conn, row[1])
	}
	conn.End(11)
	if code := c.wait(); code != 11 {
		t.Errorf("status %d, want 11; %s", code, &c.stderr)
	}
}

// awaitLetGo waits until the client is past its start, from where signals are the
// program's.
func awaitLetGo(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	spawntest.Eventually(t, "client that has let go of stdin", func() bool { return spawntest.FDs(cmd.Process.Pid)[1] == "/dev/null" })
}

func expectSignal(t *testing.T, conn *spawntest.LegacyConn, want syscall.Signal) {
	t.Helper()
	got, err := conn.Next()
	if err != nil || got != numbers32(spawntest.LegacySignal, int(want)) {
		t.Fatalf("command %v, %v; want SIGNAL %s", got, err, unix.SignalName(want))
	}
}

// B11: a daemon that reads no more keeps nobody who asks the client to end; one
// that has read the signal may take its time.
func TestLegacyDaemonHangs(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP} {
		c := legacyStart(t, d.Client("sleep", "1000"))
		conn := d.AcceptRequest()
		conn.CloseFiles()
		awaitLetGo(t, c.cmd)
		if err := c.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := c.wait(); code != 125 {
			t.Errorf("%s: status %d, want 125", unix.SignalName(sig), code)
		}
		legacyLine(t, c.stderr.String(), unix.SignalName(sig))
		conn.Close()
	}
	c := legacyStart(t, d.Client("sleep", "1000"))
	conn := d.AcceptRequest()
	awaitLetGo(t, c.cmd)
	for range 2 {
		if err := c.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		expectSignal(t, conn, unix.SIGTERM)
		if spawntest.Within(1500*1e6, func() bool { return !spawntest.Alive(c.cmd.Process.Pid) }) {
			t.Fatalf("the client did not wait for the job: %s", &c.stderr)
		}
	}
	conn.End(3)
	if code := c.wait(); code != 3 {
		t.Errorf("status %d, want 3", code)
	}
}
