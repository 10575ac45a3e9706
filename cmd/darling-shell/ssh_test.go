package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"shellspawn/internal/spawntest"
)

// remote is a daemon on a machine that is reached with ssh: a real sshd with keys
// and a configuration of its own, which ssh starts itself and talks to through a
// pipe, so that no port is needed. Whoever logs in there is the daemon's user.
type remote struct {
	*spawntest.Daemon
	t    *testing.T
	dir  string
	user string
	sshd string // command line
}

func startRemote(t *testing.T, who spawntest.Who) *remote {
	t.Helper()
	r := &remote{Daemon: spawntest.StartDaemon(t, spawntest.AsUser(who)), t: t}
	r.dir = r.Dir
	server := installed(t, "sshd")
	for _, key := range []string{"host", "user"} {
		r.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(r.dir, key))
	}
	config := filepath.Join(r.dir, "sshd_config")
	write(t, config, r.config(), 0o644)
	r.sshd = server + " -i -e -f " + config
	r.choose(who)
	return r
}

// config is for one user, whose key may be anywhere. What the daemon's clients find
// in their environment elsewhere is set here.
func (r *remote) config() string {
	return fmt.Sprintf(`HostKey %[1]s/host
AuthorizedKeysFile %[1]s/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PermitUserRC no
PrintMotd no
PrintLastLog no
SetEnv SHELLSPAWN_SOCKET=%[2]s PATH=%[3]s:/usr/bin:/bin
`, r.dir, r.Socket, filepath.Dir(spawntest.ClientPath(r.t)))
}

// choose makes it possible to log in as who. Users without rights seldom have a
// login shell, so where the test is root it gives them one, in a mount namespace
// in which the file of users is another one.
func (r *remote) choose(who spawntest.Who) {
	r.t.Helper()
	user := r.entry("passwd", strconv.Itoa(who.UID))
	r.user = user[0]
	shell := filepath.Base(user[len(user)-1])
	login := shell != "nologin" && shell != "false"
	if os.Getuid() != 0 {
		r.canServe(login)
		return
	}
	privilegeSeparation(r.t)
	if login {
		return
	}
	users := filepath.Join(r.dir, "passwd")
	entry := fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", r.user, who.UID, who.GID, r.dir)
	write(r.t, users, entry+string(contents(r.t, "/etc/passwd")), 0o644)
	r.sshd = fmt.Sprintf("unshare --mount sh -c 'mount --bind %s /etc/passwd && exec %s'", users, r.sshd)
}

// canServe skips the test where the sshd of an ordinary user could not do what it
// is needed for. The tests of root cover ordinary users, too.
func (r *remote) canServe(login bool) {
	r.t.Helper()
	if !login {
		r.t.Skipf("needs root: user %s has no login shell", r.user)
	}
	term := spawntest.OpenTerminal(r.t, spawntest.Self())
	var st syscall.Stat_t
	if err := syscall.Fstat(int(term.File().Fd()), &st); err != nil {
		r.t.Fatal(err)
	}
	if tty := r.entry("group", "tty")[2]; strconv.Itoa(int(st.Gid)) != tty {
		r.t.Skipf("needs root: terminals here have group %d, and sshd wants %s, that of tty", st.Gid, tty)
	}
}

// entry looks up a user or group.
func (r *remote) entry(database, key string) []string {
	r.t.Helper()
	return strings.Split(strings.TrimSpace(r.must("getent", database, key)), ":")
}

func (r *remote) must(argv ...string) string {
	r.t.Helper()
	out, err := exec.Command(installed(r.t, argv[0]), argv[1:]...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// installed returns the path of a program, which for sshd must be an absolute one.
func installed(t *testing.T, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed; the package openssh-server brings it", program)
	return ""
}

// privilegeSeparation makes the directory without which sshd does not start. Where
// no sshd runs as a service it is not there.
func privilegeSeparation(t *testing.T) {
	t.Helper()
	const dir = "/run/sshd"
	if err := os.Mkdir(dir, 0o755); err == nil {
		t.Cleanup(func() { _ = os.Remove(dir) }) // an empty directory harms nobody
	} else if !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

// ssh is a command on the other machine. It runs as the test's own user: who one
// is there is decided by the key.
func (r *remote) ssh(flag string, command ...string) *exec.Cmd {
	cmd := exec.Command("ssh", flag, "-F", "none", "-i", filepath.Join(r.dir, "user"),
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "ProxyCommand="+r.sshd+" 2>>"+filepath.Join(r.dir, "sshd.log"), "-l", r.user, "host")
	cmd.Args = append(cmd.Args, command...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh", "TERM=xterm", "HOME=" + r.dir}
	return cmd
}

// onTerminal starts ssh on a new terminal of the given size.
func (r *remote) onTerminal(rows, cols int, command ...string) *spawntest.Terminal {
	r.t.Helper()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(r.dir, "sshd.log"))
			r.t.Logf("sshd says:\n%s", log)
		}
	})
	term := spawntest.OpenTerminal(r.t, spawntest.Self())
	term.Resize(rows, cols, 0, 0)
	return term.Start(r.ssh("-tt", command...))
}

// eachRemote runs a test with each user's daemon behind a real sshd.
func eachRemote(t *testing.T, test func(t *testing.T, r *remote)) {
	t.Helper()
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) { test(t, startRemote(t, who)) })
}

// Over ssh the exit status is the command's, with a terminal and without.
func TestSSHStatus(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		for _, row := range []struct {
			command string
			want    int
		}{
			{"exit 0", 0}, {"exit 7", 7}, {"exit 254", 254}, {"kill -KILL $$", 137}, {"kill -HUP $$", 129},
		} {
			script := "'" + row.command + "'"
			term := r.onTerminal(24, 80, "darling-shell", "sh", "-c", script)
			if code := term.Wait(); code != row.want || len(term.Output()) > 0 {
				t.Errorf("ssh -tt, %s: status %d, want %d; output %q", row.command, code, row.want, term.Output())
			}
			if _, errs, code := r.Collect(r.ssh("-T", "darling-shell", "sh", "-c", script), nil); code != row.want || len(errs) > 0 {
				t.Errorf("ssh -T, %s: status %d, want %d; %s", row.command, code, row.want, errs)
			}
		}
		if _, errs, code := r.Collect(r.ssh("-T", "darling-shell", "no-such-program"), nil); code != 127 {
			t.Errorf("not found: status %d; %s", code, errs)
		}
	})
}

// ssh -t host darling-shell: a login shell at the other end of two ptys and a
// network protocol.
func TestSSHLoginShell(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		term := r.onTerminal(24, 80, "darling-shell")
		term.Send("echo $((6*7)); tty; test -t 0 && echo terminal-$?\r")
		term.Expect(`42\r\n/dev/pts/\d+\r\nterminal-0\r\n`)
		term.Send("exit 3\r")
		if code := term.Wait(); code != 3 {
			t.Errorf("status %d, want 3", code)
		}
	})
}

// Ctrl-C goes to the program at the far end, and to nothing on the way.
func TestSSHKeys(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		term := r.onTerminal(24, 80, "darling-shell", "sh", "-c",
			`'trap "echo interrupted; exit 5" INT; echo ready; while :; do sleep 0.1; done'`)
		term.Expect("ready")
		term.Send("\x03")
		term.Expect("interrupted")
		if code := term.Wait(); code != 5 {
			t.Errorf("status %d, want 5", code)
		}
	})
}

// The size is right from the start, and a resize reaches the program.
func TestSSHResize(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		term := r.onTerminal(33, 111, "darling-shell", spawntest.Helper(t, "spawntest-winsize"))
		term.Expect(`size 33 111 0 0\.`)
		term.Resize(50, 132, 660, 500)
		term.Expect(`size 50 132 660 500\.`)
		term.Send("\r")
		if code := term.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	})
}

// When ssh goes away, killed or with its terminal, the far end is hung up like
// any other: nothing of it is left.
func TestSSHGone(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		for name, leave := range map[string]func(term *spawntest.Terminal){
			"killed":          func(term *spawntest.Terminal) { term.Signal(syscall.SIGKILL) },
			"terminated":      func(term *spawntest.Terminal) { term.Signal(syscall.SIGTERM) },
			"terminal closed": (*spawntest.Terminal).Close,
		} {
			t.Run(name, func(t *testing.T) {
				note := filepath.Join(r.dir, strings.ReplaceAll(name, " ", "-"))
				term := r.onTerminal(24, 80, "darling-shell", "sh", "-c",
					fmt.Sprintf(`'trap "echo hung up >%s; exit" HUP; echo ready; while :; do sleep 0.1; done'`, note))
				term.Expect("ready")
				leave(term)
				spawntest.Eventually(t, "shell that has been hung up", func() bool {
					text, _ := os.ReadFile(note)
					return string(text) == "hung up\n"
				})
				spawntest.Eventually(t, "end of the shell", func() bool { return len(r.Children()) == 0 })
			})
		}
	})
}

// Without a terminal the bytes arrive as they are, both ways, and what goes to
// standard error stays apart.
func TestSSHBinaryPipe(t *testing.T) {
	eachRemote(t, func(t *testing.T, r *remote) {
		data, err := io.ReadAll(io.LimitReader(spawntest.Random(6), 4<<20))
		if err != nil {
			t.Fatal(err)
		}
		out, errs, code := r.Collect(r.ssh("-T", "darling-shell", "cat"), data)
		same(t, "the way there and back", out, data)
		if len(errs) > 0 || code != 0 {
			t.Errorf("status %d, stderr %q", code, errs)
		}
		out, errs, code = r.Collect(r.ssh("-T", "darling-shell", "sh", "-c", "'wc -c; echo aside >&2; exit 4'"), bytes.Repeat([]byte{0}, 100_000))
		if strings.TrimSpace(string(out)) != "100000" || string(errs) != "aside\n" || code != 4 {
			t.Errorf("output %q, stderr %q, status %d", out, errs, code)
		}
	})
}
