package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// The daemon, as seen by the original client: one that knows the old dialect
// from its description and nothing of the product.

// legacyDaemon is a daemon whose deadline for requests is so long that no test
// takes it for an answer.
func legacyDaemon(t *testing.T, who spawntest.Who) *spawntest.Daemon {
	t.Helper()
	return spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Args("--request-timeout", "10m"),
		spawntest.Env("DAEMONS_OWN=secret"))
}

// stdio is three pipes, on which the shell's output is collected as it comes.
type stdio struct {
	files []*os.File // the shell's
	stdin *os.File
	out   chan string
	errs  chan string
}

func openStdio(t *testing.T) *stdio {
	t.Helper()
	s := &stdio{}
	in, stdin := legacyPipe(t)
	stdout, out := legacyPipe(t)
	stderr, errs := legacyPipe(t)
	s.stdin, s.files = stdin, []*os.File{in, out, errs}
	s.out, s.errs = gather(stdout), gather(stderr)
	return s
}

// gather reads to the end, or for as long as a test may last.
func gather(f *os.File) chan string {
	text := make(chan string, 1)
	_ = f.SetReadDeadline(time.Now().Add(spawntest.Deadline)) // pipes have deadlines
	go func() {
		b, err := io.ReadAll(f)
		if err != nil {
			b = append(b, err.Error()...)
		}
		text <- string(b)
	}()
	return text
}

func legacyPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// collect returns what the shell printed, once it and its children are gone.
func (s *stdio) collect() (stdout, stderr string) {
	for _, f := range s.files {
		_ = f.Close() // sent and not needed here
	}
	return <-s.out, <-s.errs
}

// original sends what the original client sends, in its order: the environment,
// the program or the arguments, the directory, the identity, GO.
func original(c *spawntest.LegacyClient, who spawntest.Who, program [][]byte, dir string, files ...*os.File) {
	for _, v := range []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin", "TMPDIR=/private/tmp",
		"HOME=/Users/somebody", "TERM=xterm", "GREETING=hello world",
	} {
		c.Text(spawntest.LegacySetEnv, v)
	}
	for _, frame := range program {
		c.Send(frame)
	}
	c.Text(spawntest.LegacyChdir, dir)
	c.Send(spawntest.LegacyNumbers(spawntest.LegacySetUIDGID, who.UID, who.GID))
	c.Go(files...)
}

// legacyCommand is what the original client sends for a command.
func legacyCommand(quoted string) [][]byte {
	return [][]byte{spawntest.LegacyText(spawntest.LegacyAddArg, "-c"), spawntest.LegacyText(spawntest.LegacyAddArg, quoted)}
}

// legacyExec is what it sends for a program in place of the shell.
func legacyExec(path string, args ...string) [][]byte {
	frames := [][]byte{spawntest.LegacyText(spawntest.LegacySetExec, path)}
	for _, a := range args {
		frames = append(frames, spawntest.LegacyText(spawntest.LegacyAddArg, a))
	}
	return frames
}

// legacyRun runs a program on pipes and returns what came of it. -1 stands for a
// connection that was closed without a status.
func legacyRun(t *testing.T, d *spawntest.Daemon, program [][]byte, dir string) (stdout, stderr string, status int32) {
	t.Helper()
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	original(c, d.Who, program, dir, s.files...)
	_ = s.stdin.Close() // no input
	status, ok := c.Status()
	if !ok {
		status = -1
	}
	stdout, stderr = s.collect()
	return stdout, stderr, status
}

// A command through the login shell: output, its two streams apart, and status.
func TestLegacyCommand(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := legacyDaemon(t, who)
		out, errs, code := legacyRun(t, d, legacyCommand(`'sh' '-c' 'echo "$1"; echo b >&2; exit 3' '' 'it'\''s  a'`), "/")
		if out != "it's  a\n" || errs != "b\n" || code != 3 {
			t.Errorf("stdout %q, stderr %q, status %d", out, errs, code)
		}
		out, _, _ = legacyRun(t, d, legacyCommand(`shopt login_shell; echo "$0"; id -u`), "/")
		want := fmt.Sprintf("on\n/bin/bash\n%d\n", who.UID)
		if strings.Join(strings.Fields(out), " ") != "login_shell "+strings.Join(strings.Fields(want), " ") {
			t.Errorf("the shell says %q, want a login shell, its path and its user", out)
		}
	})
}

// Input arrives, and so does its end.
func TestLegacyInput(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	original(c, d.Who, legacyExec("/bin/cat", "cat"), "/", s.files...)
	if _, err := s.stdin.WriteString("line\n"); err != nil {
		t.Error(err)
	}
	_ = s.stdin.Close() // that is the end
	if code, ok := c.Status(); code != 0 || !ok {
		t.Errorf("status %d, %v", code, ok)
	}
	if out, _ := s.collect(); out != "line\n" {
		t.Errorf("output %q", out)
	}
}

// The program's environment is the one sent, a variable sent twice has its last
// value, and nothing is the daemon's own. E3
func TestLegacyEnvironment(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	program := append([][]byte{
		spawntest.LegacyText(spawntest.LegacySetEnv, "GREETING=changed=twice"),
		spawntest.LegacyFrame(spawntest.LegacySetEnv, []byte("BARE=without NUL")),
		spawntest.LegacyFrame(spawntest.LegacySetEnv, nil),
		spawntest.LegacyText(spawntest.LegacySetEnv, "EMPTY="),
	}, legacyExec("/usr/bin/env", "env")...)
	out, _, _ := legacyRun(t, d, program, "/")
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for _, want := range []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin", "TMPDIR=/private/tmp", "HOME=/Users/somebody",
		"TERM=xterm", "GREETING=changed=twice", "BARE=without NUL", "EMPTY=",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	names := map[string]int{}
	for _, v := range got {
		name, _, _ := strings.Cut(v, "=")
		if names[name]++; names[name] > 1 || name == "DAEMONS_OWN" {
			t.Errorf("%s in %q", name, got)
		}
	}
}

// arguments is what spawntest-args has printed.
func arguments(t *testing.T, out string) []string {
	t.Helper()
	var numbers [][]byte
	var raw [][]int
	if err := json.Unmarshal([]byte(out), &raw); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	for _, arg := range raw {
		b := make([]byte, len(arg))
		for i, n := range arg {
			b[i] = byte(n)
		}
		numbers = append(numbers, b)
	}
	var args []string
	for _, b := range numbers {
		args = append(args, string(b))
	}
	return args
}

// SETEXEC runs that program with exactly the arguments that follow, byte for byte;
// those before it are forgotten. An argument of length 0 is none, one of length
// 1 is the empty one. A NUL need not be sent, and ends a string where it is. C7
func TestLegacyExec(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	bytesOfAll := make([]byte, 255)
	for i := range bytesOfAll {
		bytesOfAll[i] = byte(i + 1)
	}
	add := func(payload string) []byte { return spawntest.LegacyFrame(spawntest.LegacyAddArg, []byte(payload)) }
	helper := spawntest.Helper(t, "spawntest-args")
	program := slices.Concat([][]byte{add("lost\x00")}, legacyExec(helper, helper), [][]byte{
		add(string(bytesOfAll) + "\x00"), add(""), add("\x00"), add("bare"), add("cut\x00off\x00"), add("-c\x00"),
		add(strings.Repeat("x", 65534) + "\x00"), add(strings.Repeat("y", 65535)),
	})
	out, errs, code := legacyRun(t, d, program, "/")
	want := []string{string(bytesOfAll), "", "bare", "cut", "-c", strings.Repeat("x", 65534), strings.Repeat("y", 65535)}
	if got := arguments(t, out); !slices.Equal(got, want) || code != 0 {
		t.Errorf("arguments %.600q, want %.600q; status %d, stderr %q", got, want, code, errs)
	}
	out, _, _ = legacyRun(t, d, legacyExec("/bin/pwd"), "/usr")
	if out != "/usr\n" {
		t.Errorf("a program without ADDARG printed %q", out)
	}
}

// The directory is entered, and one that cannot be entered is ignored.
func TestLegacyDirectory(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	if out, _, code := legacyRun(t, d, legacyExec("/bin/pwd", "pwd"), d.Dir); out != d.Dir+"\n" || code != 0 {
		t.Errorf("in %s: %q, status %d", d.Dir, out, code)
	}
	for _, dir := range []string{"/Volumes/SystemRoot/nowhere", filepath.Join(d.Dir, "log"), ""} {
		if out, _, code := legacyRun(t, d, legacyExec("/bin/pwd", "pwd"), dir); code != 0 || out == "" {
			t.Errorf("in %q: %q, status %d", dir, out, code)
		}
	}
}

// The status is the shell's own, or 128 and the signal that killed it. B1
func TestLegacyStatus(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	for script, want := range map[string]int32{
		"exit 0": 0, "exit 1": 1, "exit 255": 255,
		"kill -9 $$": 137, "kill -TERM $$": 143, "kill -HUP $$": 129,
	} {
		if _, errs, code := legacyRun(t, d, legacyExec("/bin/sh", "sh", "-c", script), "/"); code != want {
			t.Errorf("%s: status %d, want %d; %s", script, code, want, errs)
		}
	}
}

// A program that cannot be executed has a status, since that client passes on
// what it gets. B2
func TestLegacyExecFailures(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	plain := filepath.Join(d.Dir, "plain")
	if err := os.WriteFile(plain, []byte("not a program\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(d.Dir, "garbage")
	if err := os.WriteFile(garbage, []byte("\x7fgarbage\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := slices.Concat(legacyExec("/bin/true", "true"), slices.Repeat(legacyExec("/bin/true", strings.Repeat("x", 65000))[1:], 120))
	for name, row := range map[string]struct {
		program [][]byte
		want    int32
	}{
		"not there":          {legacyExec("/nowhere/program", "program"), 127},
		"below a file":       {legacyExec("/bin/sh/program", "program"), 127},
		"not on PATH":        {legacyExec("no-such-program", "program"), 127},
		"not executable":     {legacyExec(plain, "plain"), 126},
		"a directory":        {legacyExec("/usr", "usr"), 126},
		"no program format":  {legacyExec(garbage, "garbage"), 126},
		"too many arguments": {long, 126},
	} {
		if _, _, code := legacyRun(t, d, row.program, "/"); code != row.want {
			t.Errorf("%s: status %d, want %d", name, code, row.want)
		}
	}
	if n := len(d.Children()); n != 0 {
		t.Errorf("%d children are left", n)
	}
}

// Only root may ask for an identity that is not its own. E1
func TestLegacyIdentity(t *testing.T) {
	spawntest.NeedRoot(t)
	user := spawntest.Ordinary()
	d := spawntest.StartDaemon(t, spawntest.Args("--allow-user", "*", "--socket-mode", "0666", "--request-timeout", "10m"))
	if err := os.Chmod(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		peer     spawntest.Who
		uid, gid int
		want     string // empty for a refusal
	}{
		"root as itself":             {spawntest.Self(), 0, 0, "0 0"},
		"root as a user":             {spawntest.Self(), user.UID, user.GID, fmt.Sprint(user.UID, " ", user.GID)},
		"root as nobody knows":       {spawntest.Self(), 54321, 54322, "54321 54322"},
		"root as no identity":        {spawntest.Self(), -1, -1, ""},
		"root as no group":           {spawntest.Self(), user.UID, -1, ""},
		"user as itself":             {user, user.UID, user.GID, fmt.Sprint(user.UID, " ", user.GID)},
		"user as root":               {user, 0, 0, ""},
		"user as another":            {user, 54321, user.GID, ""},
		"user with root's group":     {user, user.UID, 0, ""},
		"user as no identity":        {user, -1, -1, ""},
		"user as no user, own group": {user, -1, user.GID, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := spawntest.DialLegacy(t, d.Socket, row.peer), openStdio(t)
			for _, frame := range legacyExec("/bin/sh", "sh", "-c", `echo "$(id -u) $(id -g)"`) {
				c.Send(frame)
			}
			c.Send(spawntest.LegacyNumbers(spawntest.LegacySetUIDGID, row.uid, row.gid))
			c.Go(s.files...)
			_, ok := c.Status()
			if out, _ := s.collect(); ok != (row.want != "") || strings.TrimSpace(out) != row.want {
				t.Errorf("output %q, status %v; want %q", out, ok, row.want)
			}
		})
	}
}

// A daemon of an ordinary user refuses an identity that it could not take. E1
func TestLegacyIdentityOfUser(t *testing.T) {
	d := legacyDaemon(t, spawntest.Ordinary())
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	c.Send(spawntest.LegacyNumbers(spawntest.LegacySetUIDGID, d.Who.UID+1, d.Who.GID))
	c.Go(s.files...)
	if status, ok := c.Status(); ok {
		t.Errorf("status %d, want none", status)
	}
	d.WaitLog("msg=deny")
	d.WaitLog("SETUIDGID " + strconv.Itoa(d.Who.UID+1))
}

// A GO that is not the right one closes the connection without an answer, runs
// nothing, and leaves no descriptor behind. E2
func TestLegacyGoRefused(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	legacyRun(t, d, legacyExec("/bin/true", "true"), "/")
	before := len(d.FDs())
	gone := spawntest.LegacyFrame(spawntest.LegacyGo, nil)
	credentials := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	for name, send := range map[string]func(c *spawntest.LegacyClient, f []*os.File){
		"no control message":   func(c *spawntest.LegacyClient, _ []*os.File) { c.Go() },
		"another type":         func(c *spawntest.LegacyClient, _ []*os.File) { c.SendControl(gone, credentials) },
		"one descriptor":       func(c *spawntest.LegacyClient, f []*os.File) { c.Go(f[:1]...) },
		"two descriptors":      func(c *spawntest.LegacyClient, f []*os.File) { c.Go(f[:2]...) },
		"four descriptors":     func(c *spawntest.LegacyClient, f []*os.File) { c.Go(append(f, f[0])...) },
		"fifty descriptors":    func(c *spawntest.LegacyClient, f []*os.File) { c.Go(slices.Repeat(f, 50)[:50]...) },
		"on an ADDARG":         func(c *spawntest.LegacyClient, f []*os.File) { onArgument(c, f) },
		"SETUIDGID of 4 bytes": func(c *spawntest.LegacyClient, f []*os.File) { shortIdentity(c, f) },
	} {
		t.Run(name, func(t *testing.T) {
			c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
			for _, frame := range legacyExec("/bin/touch", "touch", filepath.Join(d.Dir, "touched")) {
				c.Send(frame)
			}
			send(c, s.files)
			if status, ok := c.Status(); ok {
				t.Errorf("status %d, want none", status)
			}
			spawntest.Eventually(t, "daemon without descriptors of this client", func() bool { return len(d.FDs()) <= before })
		})
	}
	if _, err := os.Stat(filepath.Join(d.Dir, "touched")); err == nil {
		t.Error("the program has run")
	}
}

func onArgument(c *spawntest.LegacyClient, files []*os.File) {
	c.Send(spawntest.LegacyText(spawntest.LegacyAddArg, "x"), files...)
	c.Go()
}

func shortIdentity(c *spawntest.LegacyClient, files []*os.File) {
	c.Send(spawntest.LegacyNumbers(spawntest.LegacySetUIDGID, os.Getuid()))
	c.Go(files...)
}

// Commands that the daemon does not know are read whole and skipped, a greeting
// that is not the first command among them.
func TestLegacyUnknownCommands(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	program := slices.Concat([][]byte{
		spawntest.LegacyFrame(0, nil), spawntest.LegacyFrame(8, []byte("eight")),
		spawntest.LegacyFrame(0xffff, bytes.Repeat([]byte{4}, 0xffff)), spawntest.LegacyFrame(0x100, make([]byte, 12)),
		spawntest.LegacyNumbers(spawntest.LegacySignal, 9),
	}, legacyExec("/bin/echo", "echo", "done"))
	if out, _, code := legacyRun(t, d, program, "/"); out != "done\n" || code != 0 {
		t.Errorf("output %q, status %d", out, code)
	}
	// The same when an unknown one comes first and decides the dialect.
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	c.Send(spawntest.LegacyFrame(0x7ffe, []byte("hello")))
	original(c, d.Who, legacyExec("/bin/echo", "echo", "done"), "/", s.files...)
	if code, ok := c.Status(); code != 0 || !ok {
		t.Errorf("status %d, %v", code, ok)
	}
}

// Headers and payloads may arrive in any pieces: a whole request byte by byte, the
// descriptors on the first byte of GO, which lies in pieces too.
func TestLegacyBytewise(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	request := slices.Concat(
		spawntest.LegacyText(spawntest.LegacySetEnv, "A=b"), spawntest.LegacyFrame(99, []byte("unknown")),
		spawntest.LegacyText(spawntest.LegacySetExec, "/bin/sh"), spawntest.LegacyText(spawntest.LegacyAddArg, "sh"),
		spawntest.LegacyText(spawntest.LegacyAddArg, "-c"), spawntest.LegacyText(spawntest.LegacyAddArg, "echo $A; read x; exit 5"),
		spawntest.LegacyFrame(spawntest.LegacyAddArg, []byte{0}), spawntest.LegacyText(spawntest.LegacyChdir, "/"),
		spawntest.LegacyNumbers(spawntest.LegacySetUIDGID, d.Who.UID, d.Who.GID),
	)
	gone := spawntest.LegacyFrame(spawntest.LegacyGo, nil)
	signal := spawntest.LegacyNumbers(spawntest.LegacySignal, int(unix.SIGCONT))
	for _, size := range []int{1, 3} {
		c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
		for piece := range slices.Chunk(request, size) {
			c.Send(piece)
		}
		c.Send(gone[:size], s.files...)
		for piece := range slices.Chunk(gone[size:], size) {
			c.Send(piece)
		}
		for piece := range slices.Chunk(signal, size) {
			c.Send(piece)
		}
		_ = s.stdin.Close() // ends the shell
		code, ok := c.Status()
		if out, errs := s.collect(); out != "b\n" || code != 5 || !ok {
			t.Errorf("in pieces of %d: output %q, stderr %q, status %d, %v", size, out, errs, code, ok)
		}
	}
}

// The same with every cut of a short request in two, and with all of it but GO
// in one piece.
func TestLegacyCutAnywhere(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	request := slices.Concat(
		spawntest.LegacyText(spawntest.LegacySetExec, "/bin/sh"), spawntest.LegacyFrame(spawntest.LegacyAddArg, []byte("sh")),
		spawntest.LegacyText(spawntest.LegacyAddArg, "-c"), spawntest.LegacyText(spawntest.LegacyAddArg, "exit 7"))
	for at := range len(request) + 1 {
		c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
		for _, piece := range [][]byte{request[:at], request[at:]} {
			if len(piece) > 0 {
				c.Send(piece)
			}
		}
		c.Go(s.files...)
		if code, ok := c.Status(); code != 7 || !ok {
			t.Errorf("cut at %d: status %d, %v", at, code, ok)
		}
		c.Close()
	}
}

// A client that leaves in the middle of its request, at any byte, leaves nothing
// behind. E7
func TestLegacyHalfRequest(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	legacyRun(t, d, legacyExec("/bin/true", "true"), "/")
	before := len(d.FDs())
	s := openStdio(t)
	request := slices.Concat(spawntest.LegacyText(spawntest.LegacyAddArg, "-c"), spawntest.LegacyText(spawntest.LegacySetEnv, "A=b"))
	for at := 1; at < len(request); at++ {
		c := spawntest.DialLegacy(t, d.Socket, d.Who)
		c.Send(request[:at], s.files...)
		c.Close()
	}
	spawntest.Eventually(t, "daemon without descriptors of these clients", func() bool { return len(d.FDs()) <= before })
	if n := len(d.Children()); n != 0 {
		t.Errorf("%d children", n)
	}
}
