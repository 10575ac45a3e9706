package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// mistake is one way in which a client can fail, and what it says then: one line
// with the object and the cause, and perhaps a second one with what to try.
type mistake struct {
	name   string
	args   []string
	status int
	says   string // in the line
	hint   string // in the hint; empty for no hint
}

// judge holds what a failed client printed against the mistake.
func (m mistake) judge(t *testing.T, out, errs []byte, code int) {
	t.Helper()
	if code != m.status {
		t.Errorf("status %d, want %d", code, m.status)
	}
	if len(out) > 0 {
		t.Errorf("it printed %q to stdout", out)
	}
	lines := strings.Split(strings.TrimSuffix(string(errs), "\n"), "\n")
	want := 1
	if m.hint != "" {
		want = 2
	}
	if len(lines) != want || !strings.HasSuffix(string(errs), "\n") {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), want, errs)
	}
	if !strings.HasPrefix(lines[0], "darling-shell: ") || !strings.Contains(lines[0], m.says) {
		t.Errorf("it says %q, want %q", lines[0], m.says)
	}
	if m.hint != "" && (!strings.HasPrefix(lines[1], "darling-shell: hint: ") || !strings.Contains(lines[1], m.hint)) {
		t.Errorf("the hint is %q, want %q", lines[1], m.hint)
	}
	for _, trace := range []string{"goroutine ", "panic", ".go:"} {
		if bytes.Contains(errs, []byte(trace)) {
			t.Errorf("a stack trace: %s", errs)
		}
	}
}

// each makes every mistake in turn, with a command of the caller's choice.
func each(t *testing.T, d *spawntest.Daemon, command func(args ...string) *exec.Cmd, mistakes []mistake) {
	t.Helper()
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			out, errs, code := d.Collect(command(m.args...), nil)
			m.judge(t, out, errs, code)
		})
	}
}

func TestErrorsOfUsage(t *testing.T) {
	d := spawntest.StartDaemon(t)
	const hint = "'darling-shell --help' lists the flags"
	each(t, d, d.Client, []mistake{
		{"unknown long flag", []string{"--nonsense"}, 2, "unknown flag --nonsense", hint},
		{"unknown short flag", []string{"-x"}, 2, "unknown flag -x", hint},
		{"unknown flag in a cluster", []string{"-tx"}, 2, "unknown flag -x", hint},
		{"flag without its value", []string{"-C"}, 2, "flag -C: needs a value", hint},
		{"long flag without its value", []string{"--user"}, 2, "flag --user: needs a value", hint},
		{"value that is not wanted", []string{"--wait=yes"}, 2, "flag --wait: takes no value", hint},
		{"empty socket", []string{"-S", "", "true"}, 2, "flag -S: empty value", hint},
		{"variable without a name", []string{"-e", "=x", "true"}, 2, "flag -e =x: not of the form NAME=VALUE", hint},
		{"variable without a value", []string{"-e", "NAME", "true"}, 2, "flag -e NAME: not of the form NAME=VALUE", hint},
		{"no duration", []string{"--connect-timeout", "soon", "true"}, 2, "flag --connect-timeout soon: not a duration such as 30s", hint},
		{"no time at all", []string{"--connect-timeout=0", "true"}, 2, "flag --connect-timeout 0: not a duration", hint},
		{"more than one line", []string{"--a\nb\x1b[31m"}, 2, `unknown flag --a\nb\x1b[31m`, hint},
	})
}

// listener listens on a path for a test that wants another kind of daemon.
func listener(t *testing.T, d *spawntest.Daemon, name string) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(d.Dir, name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l, path
}

// stale leaves a socket behind on which nobody listens.
func stale(t *testing.T, d *spawntest.Daemon) string {
	t.Helper()
	l, path := listener(t, d, "stale")
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// D4: no way to a daemon.
func TestErrorsOfTheSocket(t *testing.T) {
	d := spawntest.StartDaemon(t)
	file, loop := filepath.Join(d.Dir, "file"), filepath.Join(d.Dir, "loop")
	write(t, file, "text", 0o600)
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	datagrams := filepath.Join(d.Dir, "datagrams")
	dgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: datagrams, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer dgram.Close()
	missing, nobody := filepath.Join(d.Dir, "none"), stale(t, d)
	component := "/" + strings.Repeat("a", 300)
	start := "no daemon is listening there; start one with 'shellspawn serve --background --socket "
	each(t, d, d.Client, []mistake{
		{"none", []string{"-S", missing, "true"}, 125, "connect " + missing + ": no such file or directory", start + missing + "', or use --wait"},
		{"nobody listens", []string{"-S", nobody, "true"}, 125, "connect " + nobody + ": connection refused", start + nobody},
		{"waited in vain", []string{"-S", missing, "--wait", "--connect-timeout", "50ms", "true"}, 125,
			"connect " + missing + ": no such file or directory, waited 50ms", start + missing + "'"},
		{"file", []string{"-S", file, "true"}, 125, "connect " + file + ": connection refused", file + " is a file or directory and no socket"},
		{"directory", []string{"-S", d.Dir, "true"}, 125, "connect " + d.Dir + ": connection refused", "is a file or directory and no socket"},
		{"below a file", []string{"-S", file + "/s", "true"}, 125, "connect " + file + "/s: not a directory", ""},
		{"loop", []string{"-S", loop, "true"}, 125, "connect " + loop + ": too many levels of symbolic links", ""},
		{"name too long", []string{"-S", component, "true"}, 125, "connect " + component + ": file name too long", ""},
		{"path too long", []string{"-S", strings.Repeat("/abcdefgh", 600), "true"}, 125, ": file name too long", ""},
		{"other kind of socket", []string{"-S", datagrams, "true"}, 125, "connect " + datagrams + ": protocol wrong type for socket", ""},
		{"more than one line", []string{"-S", missing + "\nx", "true"}, 125, "connect " + missing + `\nx: no such file`, missing + `\nx`},
	})
}

// D4: with no socket named, all of those that were looked for are.
func TestErrorsOfDefaultSockets(t *testing.T) {
	if _, err := os.Lstat("/run/shellspawn.sock"); err == nil {
		t.Fatal("there is a daemon on this machine, with which this test cannot be run")
	}
	d := spawntest.StartDaemon(t, spawntest.AsUser(spawntest.Ordinary()))
	with := func(vars ...string) func(args ...string) *exec.Cmd {
		return func(args ...string) *exec.Cmd {
			cmd := d.Client(args...)
			cmd.Env = append(cmd.Env, "SHELLSPAWN_SOCKET=")
			cmd.Env = append(cmd.Env, vars...)
			return cmd
		}
	}
	const system = "connect /run/shellspawn.sock: no such file or directory"
	own := d.Dir + "/shellspawn.sock"
	each(t, d, with("XDG_RUNTIME_DIR="+d.Dir), []mistake{
		{"user", []string{"true"}, 125, system, "there or at " + own + "; start your own with 'shellspawn serve --background', or use --wait"},
	})
	each(t, d, with(), []mistake{
		{"user without a runtime directory", []string{"true"}, 125, system, "XDG_RUNTIME_DIR is not set"},
	})
	each(t, d, with("DPREFIX="+d.Dir), []mistake{
		{"prefix", []string{"true"}, 125, "connect " + d.Dir + "/var/run/shellspawn.sock: no such file", "the Darling container at DPREFIX does not run"},
	})
	if os.Getuid() == 0 {
		root := spawntest.StartDaemon(t)
		cmd := root.Client("true")
		cmd.Env = append(cmd.Env, "SHELLSPAWN_SOCKET=")
		out, errs, code := root.Collect(cmd, nil)
		mistake{"root", nil, 125, system, "start it with 'shellspawn serve --background' or 'systemctl start shellspawn.socket'"}.judge(t, out, errs, code)
	}
}

// A client that may not connect learns what mode, owner and group stand in its way.
func TestErrorsOfPermission(t *testing.T) {
	who := spawntest.Ordinary()
	mine := spawntest.StartDaemon(t, spawntest.AsUser(who))
	open, closed := filepath.Join(mine.Dir, "open"), filepath.Join(mine.Dir, "closed")
	for _, dir := range []string{open, closed} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, path := listener(t, mine, "open/s")
	defer l.Close()
	if err := os.Chmod(path, 0o040); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	owner := ownersOf(t, path)
	each(t, mine, mine.Client, []mistake{
		{"mode", []string{"-S", path, "true"}, 125, "connect " + path + ": permission denied", "it has mode 0040, " + owner + ", and you are "},
		{"directory", []string{"-S", closed + "/s", "true"}, 125, "connect " + closed + "/s: permission denied", "a directory on the way to it is closed to you"},
	})
}

// ownersOf names the owner and the group of a file.
func ownersOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("stat", "-c", "owner %U and group %G", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// fill takes all places of an accept queue that nobody serves.
func fill(t *testing.T, path string) {
	t.Helper()
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) }) // nothing is lost
		switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
		case nil:
		case unix.EAGAIN:
			return
		default:
			t.Fatal(err)
		}
	}
}

// shorten sets the backlog of a listener.
func shorten(t *testing.T, l *net.UnixListener, backlog int) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.Listen(int(fd), backlog) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
}

// D1, D8: a listener that does not accept, with a queue of one and of two places.
func TestErrorsOfAFullQueue(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for backlog := range 2 {
		t.Run(fmt.Sprint("backlog ", backlog), func(t *testing.T) {
			l, path := listener(t, d, "queue"+strconv.Itoa(backlog))
			shorten(t, l, backlog)
			each(t, d, d.Client, []mistake{
				{"no answer", []string{"-S", path, "--connect-timeout", "200ms", "true"}, 125,
					"connect " + path + ": connected but no answer within 200ms", "the daemon may hang"},
			})
			fill(t, path)
			began := time.Now()
			each(t, d, d.Client, []mistake{
				{"full", []string{"-S", path, "--connect-timeout", "1s", "true"}, 125,
					"connect " + path + ": accept queue is full, waited 1s", "--backlog, up to net.core.somaxconn"},
			})
			if took := time.Since(began); took < time.Second {
				t.Errorf("it gave up after %v", took)
			}
		})
	}
}

// answering accepts on a new socket and says the same to everybody.
func answering(t *testing.T, d *spawntest.Daemon, name, text string) (path string) {
	t.Helper()
	l, path := listener(t, d, name)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			_, _ = c.Write([]byte(text)) // the client may have gone
			if text != "" {
				_, _ = c.Read(make([]byte, 64<<10)) // so that the close is no reset
			}
			_ = c.Close()
		}
	}()
	return path
}

// B3, D10: something listens, and it is not what the client speaks to.
func TestErrorsOfStrangeDaemons(t *testing.T) {
	d := spawntest.StartDaemon(t)
	silent := answering(t, d, "silent", "")
	web := answering(t, d, "web", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	zeros := answering(t, d, "zeros", strings.Repeat("\x00", 64))
	each(t, d, d.Client, []mistake{
		{"closes at once", []string{"-S", silent, "true"}, 125, "connect " + silent + ": closed by the daemon without an answer", "one of the old dialect needs --legacy"},
		{"closes at once, old dialect", []string{"-S", silent, "--legacy", "true"}, 125, silent + ": closed by the daemon", ""},
		{"speaks HTTP", []string{"-S", web, "true"}, 125, "connect " + web + ": message too large", "is it a shellspawn daemon that listens there?"},
		{"sends zeros", []string{"-S", zeros, "true"}, 125, "connect " + zeros + ": protocol error", "is it a shellspawn daemon that listens there?"},
		{"old dialect has no other user", []string{"--legacy", "-u", "root", "true"}, 125, "user root: the old dialect has no request for another user", ""},
	})
}

// B2: the daemon answers, and cannot do what was asked for.
func TestErrorsOfTheRequest(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		at := func(name string) string { return filepath.Join(d.Dir, name) }
		write(t, at("plain"), "text", 0o644)
		write(t, at("format"), "\x7fELF and nothing more", 0o755)
		write(t, at("interpreter"), "#!/no/such/interpreter\n", 0o755)
		each(t, d, d.Client, []mistake{
			{"not found", []string{"no-such-program"}, 127, "exec no-such-program: no such file or directory", ""},
			{"path not found", []string{"/no/such/program"}, 127, "exec /no/such/program: no such file or directory", ""},
			{"interpreter not found", []string{at("interpreter")}, 127, "exec " + at("interpreter") + ": no such file or directory", "the file is there"},
			{"interpreter not found from here", []string{"./interpreter"}, 127, "exec ./interpreter: no such file or directory", "the file is there"},
			{"shell not found", []string{"--shell", "/no/such/shell", "-c", "true"}, 127, "exec /no/such/shell: no such file or directory", ""},
			{"empty name", []string{""}, 127, `exec "": the name of the command is empty`, "there is a login shell"},
			{"empty name for a login shell", []string{"-l", "", "x"}, 127, `exec "": the name of the command is empty`, "there is a login shell"},
			{"empty name in the old dialect", []string{"--legacy", ""}, 127, `exec "": the name of the command is empty`, "there is a login shell"},
			{"line for a shell", []string{"ls | wc"}, 127, "exec ls | wc: no such file or directory", "-c runs a line in the shell"},
			{"words that are no line", []string{"no such program", "x"}, 127, "exec no such program: no such file or directory", ""},
			{"name of two lines", []string{"no\nprogram"}, 127, `exec no\nprogram: no such file or directory`, ""},
			{"not executable", []string{at("plain")}, 126, "exec " + at("plain") + ": permission denied", ""},
			{"directory", []string{d.Dir}, 126, "exec " + d.Dir + ": permission denied", ""},
			{"format", []string{at("format")}, 126, "exec " + at("format") + ": exec format error", ""},
			{"directory to start in", []string{"-C", "/no/such", "true"}, 125, "chdir /no/such: no such file or directory", ""},
			{"directory that is a file", []string{"-C", at("plain"), "true"}, 125, "chdir " + at("plain") + ": not a directory", ""},
			{"unknown user", []string{"-u", "no-such-user", "true"}, 125, `user "no-such-user": `, ""},
		})
		t.Run("stdin is a directory", func(t *testing.T) {
			dir, err := os.Open(d.Dir)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			cmd := d.Client("cat")
			cmd.Stdin = dir
			out, errs, code := d.Collect(cmd, nil)
			mistake{"", nil, 125, "stdin: is a directory", ""}.judge(t, out, errs, code)
		})
	})
}

// B2: more arguments than the program can be given. A client with a larger stack
// limit than the daemon's can itself be given that many.
func TestErrorsOfSize(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `ulimit -s unlimited; a=$(head -c 100000 /dev/zero | tr "\0" a)
		set -- "$@" $(for ((i = 0; i < 40; i++)); do echo $a; done); exec "$0" "$@"`
	out, errs, code := d.Collect(d.Command("bash", "-c", script, spawntest.ClientPath(t), "true"), nil)
	mistake{"", nil, 126, "exec true: argument list too long", ""}.judge(t, out, errs, code)
}

// E5: each limit says which it is.
func TestErrorsOfLimits(t *testing.T) {
	for flag, says := range map[string]string{
		"--max-shells":          "start: limit of 1 in total reached",
		"--max-shells-per-user": "start: limit of 1 per user reached",
	} {
		t.Run(flag, func(t *testing.T) {
			d := spawntest.StartDaemon(t, spawntest.Args(flag, "1"))
			holder := onPipes(t, d, "sh", "-c", "echo started; exec cat")
			holder.expect("started")
			each(t, d, d.Client, []mistake{{"one more", []string{"true"}, 125, says, flag + " of the daemon sets the limit"}})
		})
	}
}

// E1: who is not served, and who asks for somebody else.
func TestErrorsOfPolicy(t *testing.T) {
	spawntest.NeedRoot(t)
	other := spawntest.Ordinary()
	as := func(d *spawntest.Daemon) func(args ...string) *exec.Cmd {
		return func(args ...string) *exec.Cmd {
			cmd := d.Client(args...)
			cmd.Dir = "/"
			return other.As(cmd)
		}
	}
	roots := func(args ...string) func(args ...string) *exec.Cmd {
		d := spawntest.StartDaemon(t, spawntest.Args(append(args, "--socket-mode", "0666")...))
		if err := os.Chmod(d.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return as(d)
	}
	d := spawntest.StartDaemon(t)
	uid := strconv.Itoa(other.UID)
	each(t, d, roots(), []mistake{
		{"not served", []string{"true"}, 125, "uid " + uid + ": not allowed to use this daemon", "--allow-user and --allow-group"},
	})
	each(t, d, roots("--allow-user", "*"), []mistake{
		{"another user", []string{"-u", "root", "true"}, 125, `user "root": only root may ask for another user`, ""},
	})
	users := spawntest.StartDaemon(t, spawntest.AsUser(other))
	each(t, d, users.Client, []mistake{
		{"another user of an ordinary daemon", []string{"-u", "root", "true"}, 125, `user "root": this daemon is not run by root and serves user "`, ""},
	})
}

// F3: no pty is left.
func TestErrorsOfPtys(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Under("unshare", "--mount", "sh", "-c",
		`mount -t devpts -o newinstance,ptmxmode=0666,max=1 devpts /dev/pts && exec "$0" "$@"`))
	holder := onPipes(t, d, "-t", "sh", "-c", "echo started; exec cat")
	holder.expect("started")
	each(t, d, d.Client, []mistake{
		{"one more", []string{"-t", "true"}, 125, "open pty: no space left on device", "/proc/sys/kernel/pty/max"},
	})
}

// B3, B11: the daemon is lost, or hangs, in the middle.
func TestErrorsInTheMiddle(t *testing.T) {
	eachMode(t, func(t *testing.T, flag string) {
		for name, row := range map[string]struct {
			happen func(t *testing.T, d *spawntest.Daemon, client *exec.Cmd)
			says   string
		}{
			"killed": {func(_ *testing.T, d *spawntest.Daemon, _ *exec.Cmd) { d.Kill() }, ": closed by the daemon before the exit status arrived"},
			"hangs": {func(t *testing.T, d *spawntest.Daemon, client *exec.Cmd) {
				d.Freeze()
				t.Cleanup(func() { d.Signal(syscall.SIGCONT) })
				_ = client.Process.Signal(syscall.SIGTERM) // it has not been waited for
			}, "signal SIGTERM: not delivered within 1s"},
		} {
			t.Run(name, func(t *testing.T) {
				d := spawntest.StartDaemon(t)
				cmd := d.Client(flag, "sh", "-c", "echo started; exec sleep 1000")
				var errs bytes.Buffer
				started := watchFor(cmd, "started")
				cmd.Stderr = &errs
				ended := make(chan int, 1)
				go func() {
					_, _, code := d.Collect(cmd, nil)
					ended <- code
				}()
				await(t, "start of the program", started)
				if flag == "-T" { // the program may have been faster than the word that it runs
					spawntest.Eventually(t, "client that knows of the start", func() bool {
						return spawntest.FDs(cmd.Process.Pid)[1] == "/dev/null"
					})
				}
				row.happen(t, d, cmd)
				code := <-ended
				mistake{"", nil, 125, row.says, ""}.judge(t, nil, errs.Bytes(), code)
			})
		}
	})
}
