package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

func init() {
	spawntest.RegisterHelper("security-inheritable", inheritable)
	spawntest.RegisterHelper("security-keyring", ownKeyring)
	spawntest.RegisterHelper("security-key", readKey)
}

// E1: a shell has the peer's uid, gid and groups, all four kinds of each, however
// many groups there are, and nothing of root is left.
func TestShellIsThePeer(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*")
	many := make([]int, 300)
	for i := range many {
		many[i] = 500000 + i
	}
	for _, c := range []struct {
		name   string
		who    spawntest.Who
		groups []int
	}{
		{"no groups", numeric(20001, 20002), nil},
		{"one group", numeric(20001, 20002), []int{20003}},
		{"three hundred groups", numeric(20001, 20002), many},
		{"group of root", numeric(20001, 0), []int{0}},
		{"root with groups", numeric(0, 0), []int{1, 2, 3}},
		{"highest number", numeric(4294967294, 4294967294), []int{4294967293}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := output(t, d.ConnectAs(c.who, c.groups...), "cat", "/proc/self/status")
			hasIdentity(t, text, c.who.UID, c.who.GID, c.groups)
		})
	}
}

// hasIdentity compares the text of /proc/PID/status with an identity.
func hasIdentity(t *testing.T, text string, uid, gid int, groups []int) {
	t.Helper()
	four := func(n int) string { return strings.TrimSpace(strings.Repeat(strconv.Itoa(n)+" ", 4)) }
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = strconv.Itoa(g)
	}
	for name, want := range map[string]string{"Uid": four(uid), "Gid": four(gid), "Groups": strings.Join(list, " ")} {
		if got := field(text, name); got != want {
			t.Errorf("%s: %.100s, want %.100s", name, got, want)
		}
	}
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if got := field(text, name); uid != 0 && strings.Trim(got, "0") != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// E1: forty users at once on one daemon, each again and again: nobody gets
// another's identity.
func TestFortyUsers(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*")
	var users sync.WaitGroup
	for i := range 40 {
		users.Go(func() {
			for range spawntest.Count(10, 100) {
				c, err := spawntest.DialAs(d.Socket, numeric(30000+i, 31000+i), 32000+i, 33000+i)
				if err != nil {
					t.Error(err)
					return
				}
				text, code, err := runOn(t, c, spawntest.Request(3, "cat", "/proc/self/status"))
				c.Close()
				if err != nil || code != 0 {
					t.Errorf("user %d: status %d, %v", i, code, err)
					return
				}
				hasIdentity(t, text, 30000+i, 31000+i, []int{32000 + i, 33000 + i})
			}
		})
	}
	users.Wait()
	if s := status(t, d); s.Shells.Running != 0 || len(s.Shells.Refused) != 0 {
		t.Errorf("afterwards the status is %+v", s.Shells)
	}
}

// inheritable makes all capabilities inheritable, as some container engines did,
// and runs its arguments.
func inheritable(args []string) int {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 99
	}
	for i := range data {
		data[i].Inheritable = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return 99
	}
	return execute(args)
}

// execute replaces the helper by another program.
func execute(args []string) int {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 99
}

// E1: capabilities that a daemon of root was started with as inheritable survive
// setuid(2). They do not reach the shells of others.
func TestNoCapabilities(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Under(spawntest.Helper(t, "security-inheritable")),
		spawntest.Args("--socket-mode", "0666", "--allow-user", "*"))
	openUp(t, d)
	if caps := spawntest.Status(d.PID, "CapInh"); strings.Trim(caps, "0") == "" {
		t.Fatalf("the daemon has CapInh %s", caps)
	}
	hasIdentity(t, output(t, d.ConnectAs(numeric(20001, 20001)), "cat", "/proc/self/status"), 20001, 20001, nil)
}

const (
	sessionKeyring = -3 // KEY_SPEC_SESSION_KEYRING
	keyFile        = "key"
)

// ownKeyring joins a new session keyring as pam_keyinit(8) does at a login, puts a key
// there, whose number it writes into a file, and runs its arguments.
func ownKeyring(args []string) int {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	var key int
	if err == nil {
		key, err = unix.AddKey("user", "secret", []byte("of root"), sessionKeyring)
	}
	if err == nil {
		err = os.WriteFile(args[0], []byte(strconv.Itoa(key)), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	return execute(args[1:])
}

// readKey prints what it can read of the key with a number.
func readKey(args []string) int {
	key, _ := strconv.Atoi(args[0]) // a wrong number cannot be read
	secret := make([]byte, 100)
	n, _, errno := unix.Syscall6(unix.SYS_KEYCTL, unix.KEYCTL_READ, uintptr(key),
		uintptr(unsafe.Pointer(&secret[0])), uintptr(len(secret)), 0, 0)
	if errno != 0 {
		fmt.Println(errno)
		return 0
	}
	fmt.Printf("%s\n", secret[:n])
	return 0
}

// E1: a daemon started by hand is in the session keyring of an administrator's
// login. Whoever is in it can read all keys; the users must not be.
func TestNoSessionKeyring(t *testing.T) {
	spawntest.NeedRoot(t)
	number := spawntest.Self().TempDir(t) + "/" + keyFile
	d := spawntest.StartDaemon(t, spawntest.Under(spawntest.Helper(t, "security-keyring"), number),
		spawntest.Args("--socket-mode", "0666", "--allow-user", "*"))
	openUp(t, d)
	key, err := os.ReadFile(number)
	if err != nil {
		t.Fatal(err)
	}
	reader := spawntest.Helper(t, "security-key")
	if text := output(t, d.Connect(), reader, string(key)); text != "of root\n" {
		t.Errorf("root reads %q", text)
	}
	if text := output(t, d.ConnectAs(numeric(20001, 20001)), reader, string(key)); text != "permission denied\n" {
		t.Errorf("somebody else reads %q", text)
	}
}

// A root that may not set groups, as in a user namespace of an ordinary user,
// can serve itself nevertheless.
func TestRootOfAUserNamespace(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Under("unshare", "--user", "--map-root-user"))
	text := output(t, d.Connect(), "cat", "/proc/self/setgroups", "/proc/self/status")
	if !strings.HasPrefix(text, "deny\n") || field(text, "Uid") != "0 0 0 0" {
		t.Errorf("%.200s", text)
	}
}

// account is a real user, for the time of a test.
type account struct {
	name, group string
	home        string
	uid, gid    int
	extra       int // number of group, of which the user is a member
}

// realUser adds a user with a home directory and a further group.
func realUser(t *testing.T, suffix string) account {
	t.Helper()
	spawntest.NeedRoot(t)
	a := account{name: fmt.Sprintf("sspawn%d%s", os.Getpid(), suffix)}
	a.group = a.name + "x"
	a.home = spawntest.Self().TempDir(t)
	tool(t, "groupadd", a.group)
	t.Cleanup(func() { tool(t, "groupdel", a.group) })
	tool(t, "useradd", "--home-dir", a.home, "--no-create-home", "--user-group", "--groups", a.group, "--shell", "/bin/sh", a.name)
	t.Cleanup(func() { tool(t, "userdel", a.name) })
	a.uid, a.gid, a.extra = number(t, "passwd", a.name, 2), number(t, "passwd", a.name, 3), number(t, "group", a.group, 2)
	if err := os.Chown(a.home, a.uid, a.gid); err != nil {
		t.Fatal(err)
	}
	return a
}

// who is the account as its own programs see it.
func (a account) who() spawntest.Who { return spawntest.Who{Name: a.name, UID: a.uid, GID: a.gid} }

// tool runs a program of shadow-utils. They give up if another one has the lock.
func tool(t *testing.T, argv ...string) {
	t.Helper()
	var out []byte
	if !spawntest.Within(spawntest.Deadline, func() (done bool) {
		var err error
		out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return err == nil || !strings.Contains(string(out), "lock")
	}) {
		t.Errorf("%q: %s", argv, out)
	}
}

// number takes a number from an entry of passwd or group.
func number(t *testing.T, database, name string, column int) int {
	t.Helper()
	entry, err := exec.Command("getent", database, name).Output()
	fields := strings.Split(strings.TrimSpace(string(entry)), ":")
	if err != nil || len(fields) <= column {
		t.Fatalf("getent %s %s: %v, %q", database, name, err, entry)
	}
	n, err := strconv.Atoi(fields[column])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// E1: root gets a shell as somebody else with that one's groups, nobody else
// does, and whoever asks for himself gets no more than he has.
func TestAnotherUser(t *testing.T) {
	a, b := realUser(t, "a"), realUser(t, "b")
	d := forEverybody(t, "--allow-user", "*")
	ask := func(c *spawntest.Conn, user string) (string, error) {
		s := spawntest.Request(3, "cat", "/proc/self/status")
		s.User = user
		text, _, err := runOn(t, c, s)
		return text, err
	}
	for _, c := range []struct {
		name, user string
		peer       *spawntest.Conn
		groups     []int
	}{
		{"root asks by name", a.name, d.Connect(), []int{a.gid, a.extra}},
		{"root asks by number", strconv.Itoa(a.uid), d.Connect(), []int{a.gid, a.extra}},
		{"oneself by name", a.name, d.ConnectAs(a.who(), a.gid, a.extra), []int{a.gid, a.extra}},
		{"oneself by number", strconv.Itoa(a.uid), d.ConnectAs(a.who(), a.gid, a.extra), []int{a.gid, a.extra}},
		{"oneself without the groups", a.name, d.ConnectAs(a.who()), nil},
		{"nobody asked for", "", d.ConnectAs(a.who()), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := ask(c.peer, c.user)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(c.groups)
			hasIdentity(t, text, a.uid, a.gid, c.groups)
		})
	}
	for _, user := range []string{b.name, strconv.Itoa(b.uid), "root", "0", "nosuchuser"} {
		_, err := ask(d.ConnectAs(a.who(), a.gid), user)
		refused(t, err, strconv.Quote(user), "only root")
	}
	for _, user := range []string{"nosuchuser", "4294967295", "4000000001", "-1", "-x", "--help", "+0", " 0", "0x0", "root\n", "../root", "root:x", strings.Repeat("x", 100000)} {
		_, err := ask(d.Connect(), user)
		refused(t, err, "no such user")
	}
	if s := status(t, d); s.Shells.Refused["user"] != 18 {
		t.Errorf("refused: %v", s.Shells.Refused)
	}
}

// HOME, USER, LOGNAME, SHELL, PATH and TMPDIR fit the user of the shell, whoever asked.
func TestEnvironmentOfTheUser(t *testing.T) {
	a := realUser(t, "e")
	d := forEverybody(t, "--allow-user", "*")
	stranger := numeric(4000000001, 4000000001)
	of := func(name, home, shell string, uid int) []string {
		path := "/usr/local/bin:/usr/bin:/bin"
		if uid == 0 {
			path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
		}
		return []string{"HOME=" + home, "LOGNAME=" + name, "PATH=" + path, "SHELL=" + shell, "TMPDIR=/tmp", "USER=" + name, "X=y z"}
	}
	for _, c := range []struct {
		name, user string
		peer       *spawntest.Conn
		want       []string
	}{
		{"peer", "", d.ConnectAs(a.who()), of(a.name, a.home, "/bin/sh", a.uid)},
		{"asked for", a.name, d.Connect(), of(a.name, a.home, "/bin/sh", a.uid)},
		{"root", "", d.Connect(), of("root", "/root", "/bin/bash", 0)},
		{"no entry", "", d.ConnectAs(stranger), of("4000000001", "/", "/bin/sh", stranger.UID)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spawntest.Request(3, "env")
			s.User, s.Env = c.user, []string{"X=y z"}
			text, _, err := runOn(t, c.peer, s)
			got := strings.Split(strings.TrimSpace(text), "\n")
			slices.Sort(got)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v\n got %q\nwant %q", err, got, c.want)
			}
		})
	}
}

// Nothing of root's session reaches a shell of another user, unless root asked for it; his own
// shells have all of it.
func TestSessionOfTheCaller(t *testing.T) {
	a := realUser(t, "n")
	d := forEverybody(t, "--allow-user", "*")
	session := []string{
		"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus", "ICEAUTHORITY=/root/ice", "KRB5CCNAME=/tmp/krb5cc_0",
		"MAIL=/var/mail/root", "SSH_AGENT_PID=2", "SSH_AUTH_SOCK=/tmp/agent", "WAYLAND_DISPLAY=wayland-0",
		"XAUTHORITY=/root/.Xauthority", "XDG_CACHE_HOME=/root/.cache", "XDG_CONFIG_HOME=/root/.config",
		"XDG_DATA_HOME=/root/.local/share", "XDG_RUNTIME_DIR=/run/user/0", "XDG_SEAT=seat0", "XDG_SESSION_ID=1",
		"XDG_SESSION_TYPE=tty", "XDG_STATE_HOME=/root/.local/state", "XDG_VTNR=1",
	}
	kept := []string{"DISPLAY=:0", "MAILCHECK=60", "TERM=xterm", "XDG_DATA_DIRS=/usr/share"}
	one := []string{"XDG_RUNTIME_DIR=/elsewhere"}
	client := func(args ...string) (got []string) {
		cmd := d.Client(append(args, "env")...)
		cmd.Env = append(cmd.Env, append(session, kept...)...)
		out, errs, code := d.Collect(cmd, nil)
		if code != 0 {
			t.Fatalf("%q: status %d, %s", args, code, errs)
		}
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); slices.Contains(session, line) || slices.Contains(kept, line) || slices.Contains(one, line) {
				got = append(got, line)
			}
		}
		slices.Sort(got)
		return got
	}
	rest := slices.DeleteFunc(slices.Clone(session), func(v string) bool { return strings.HasPrefix(v, "XDG_RUNTIME_DIR=") })
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"root", nil, slices.Concat(session, kept)},
		{"root by name", []string{"-u", "root"}, slices.Concat(session, kept)},
		{"another user", []string{"-u", a.name}, kept},
		{"another user and one variable", []string{"-u", a.name, "-e", one[0]}, slices.Concat(kept, one)},
		{"twice the same", []string{"-u", a.name, "-e", "XDG_RUNTIME_DIR=/no", "-e", one[0]}, slices.Concat(kept, one)},
		{"another user and all", []string{"-u", a.name, "-E"}, slices.Concat(session, kept)},
		{"all and one", []string{"-u", a.name, "-E", "-e", one[0]}, slices.Concat(rest, kept, one)},
	} {
		slices.Sort(c.want)
		if got := client(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
	// A number that is too large is no way to take down the daemon.
	s := spawntest.Request(3, "env")
	s.User, s.Env, s.Named = a.name, session, 1<<32-1
	if text := first(runOn(t, d.Connect(), s)); !strings.Contains(text, "XDG_SEAT=seat0") {
		t.Errorf("all are named, and there is\n%s", text)
	}
}

func first(text string, _ int, _ error) string { return text }

// PWD never names a directory in which the program is not; the daemon's own is
// nobody's.
func TestDirectoryAndPWD(t *testing.T) {
	a := realUser(t, "d")
	d := forEverybody(t, "--allow-user", "*")
	closed := spawntest.Self().TempDir(t) // of root, with mode 0700
	for _, c := range []struct {
		name, dir string
		pwd, want string
	}{
		{"one that may be entered", "/usr", "PWD=/usr", "/usr PWD=/usr\n"},
		{"one of somebody else", closed, "PWD=" + closed, a.home + " \n"},
		{"one that is gone", "/nonexistent", "PWD=/nonexistent", a.home + " \n"},
		{"none", "", "PWD=/somewhere", a.home + " \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spawntest.Request(3, "sh", "-c", "echo $(readlink /proc/$$/cwd) $(tr '\\0' '\\n' </proc/$$/environ | grep ^PWD=)")
			s.Dir, s.Env = c.dir, []string{c.pwd}
			text, _, err := runOn(t, d.ConnectAs(a.who()), s)
			if err != nil || strings.TrimSpace(text) != strings.TrimSpace(c.want) {
				t.Errorf("%v, got %q, want %q", err, text, c.want)
			}
		})
	}
	s := spawntest.Request(3, "true")
	s.Dir, s.DirRequired = closed, true
	_, _, err := runOn(t, d.ConnectAs(a.who()), s)
	refused(t, err, "chdir "+closed+": permission denied")
}

// E1: what a refusal says of a file is what the user could see himself, in a path that
// means something else to the daemon as well.
func TestRefusalTellsNoMore(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*")
	asked := 0
	for fd, target := range d.FDs() {
		if target != d.Dir {
			continue
		}
		asked++
		for _, path := range []string{"s", "../../etc/shadow", "none"} {
			c := d.ConnectAs(numeric(20001, 20001))
			_, _, err := runOn(t, c, spawntest.Request(3, fmt.Sprintf("/proc/self/fd/%d/%s", fd, path)))
			refusedWith(t, 127, err, "no such file or directory")
			var r *spawntest.Refusal
			if errors.As(err, &r) && r.Answer.Hint != "" {
				t.Errorf("%s: %s", path, r.Answer.Hint)
			}
		}
	}
	if asked == 0 {
		t.Error("the daemon has no directory open")
	}
}

// DESIGN §6: whom a daemon serves. Groups count as the kernel tells them and
// as the user database does; a number is nobody's group.
func TestWhoIsServed(t *testing.T) {
	member := realUser(t, "m")
	for _, c := range []struct {
		name   string
		args   []string
		who    spawntest.Who
		groups []int
		served bool
	}{
		{"root by default", nil, numeric(0, 0), nil, true},
		{"others not by default", nil, member.who(), []int{0}, false},
		{"user by name", []string{"--allow-user", member.name}, member.who(), nil, true},
		{"user by number", []string{"--allow-user", "20001"}, numeric(20001, 1), nil, true},
		{"other user", []string{"--allow-user", "20001"}, numeric(20002, 20001), []int{20001}, false},
		{"everyone", []string{"--allow-user", "*"}, numeric(20001, 1), nil, true},
		{"every group", []string{"--allow-group", "*"}, numeric(20001, 1), nil, true},
		{"several flags", []string{"--allow-user", "1", "--allow-user", "20001", "--allow-group", "1"}, numeric(20001, 5), nil, true},
		{"main group", []string{"--allow-group", "20005"}, numeric(20001, 20005), nil, true},
		{"further group", []string{"--allow-group", "20005"}, numeric(20001, 1), []int{3, 20005}, true},
		{"member by the database", []string{"--allow-group", member.group}, member.who(), nil, true},
		{"main group by the database", []string{"--allow-group", strconv.Itoa(member.gid)}, numeric(member.uid, 1), nil, true},
		{"other group", []string{"--allow-group", "20005"}, member.who(), []int{1, 2}, false},
		{"no entry, uid of that number", []string{"--allow-group", "20001"}, numeric(20001, 1), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := forEverybody(t, c.args...)
			text, _, err := runOn(t, d.ConnectAs(c.who, c.groups...), spawntest.Request(3, "cat", "/proc/self/status"))
			if c.served {
				if err != nil {
					t.Fatal(err)
				}
				hasIdentity(t, text, c.who.UID, c.who.GID, c.groups)
				return
			}
			refused(t, err, fmt.Sprintf("uid %d: not allowed", c.who.UID))
			if s := status(t, d); s.Shells.Refused["policy"] != 1 || s.Shells.Total != 0 {
				t.Errorf("status: %+v", s.Shells)
			}
			d.WaitLog(fmt.Sprintf(" uid=%d pid=%d cause=", c.who.UID, os.Getpid()))
		})
	}
}

// Who is not served cannot ask about the daemon either.
func TestStrangersLearnNothing(t *testing.T) {
	d := forEverybody(t)
	for _, command := range []string{"status", "list", "backlog", "kill", "stop"} {
		c := d.ConnectAs(numeric(20001, 20001))
		if err := c.Send(wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: command})); err != nil {
			t.Fatal(err)
		}
		_, err := c.Reply()
		refused(t, err, "uid 20001: not allowed")
	}
}

// A daemon of an ordinary user serves him, and root, whom it makes that user.
func TestDaemonOfAUser(t *testing.T) {
	who := spawntest.Ordinary()
	d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Args("--socket-mode", "0666"))
	openUp(t, d)
	ask := func(c *spawntest.Conn, user string) error {
		s := spawntest.Request(3, "cat", "/proc/self/status")
		s.User = user
		text, _, err := runOn(t, c, s)
		if err == nil && field(text, "Uid") != fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", who.UID) {
			t.Errorf("the shell has Uid %s", field(text, "Uid"))
		}
		return err
	}
	if err := ask(d.Connect(), ""); err != nil { // as root, where the tests are run by root
		t.Error(err)
	}
	if err := ask(d.Connect(), strconv.Itoa(who.UID)); err != nil {
		t.Error(err)
	}
	refused(t, ask(d.Connect(), "root\x1b[31m"), `user "root\x1b[31m": this daemon is not run by root`)
	if os.Getuid() == 0 {
		refused(t, ask(d.ConnectAs(numeric(20001, 20001)), ""), "uid 20001: not allowed")
	}
}

// What cannot be meant is said at the start.
func TestWrongAllowances(t *testing.T) {
	for _, c := range []struct {
		name string
		who  spawntest.Who
		args []string
		want []string
	}{
		{"unknown user", spawntest.Self(), []string{"--allow-user", "nosuchuser"}, []string{"--allow-user nosuchuser"}},
		{"unknown group", spawntest.Self(), []string{"--allow-group", "nosuchgroup"}, []string{"--allow-group nosuchgroup"}},
		{"nobody", spawntest.Self(), []string{"--allow-user", "4294967295"}, []string{"--allow-user 4294967295"}},
		{"empty", spawntest.Self(), []string{"--allow-group", ""}, []string{"--allow-group"}},
		{"not root", spawntest.Ordinary(), []string{"--allow-user", "*"}, []string{"--allow-user", "not run by root"}},
		{"not root", spawntest.Ordinary(), []string{"--allow-group", "1"}, []string{"--allow-group", "not run by root"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.who.UID == os.Getuid() && c.who.UID != 0 && c.name != "not root" {
				c.want = []string{"--allow-user", "not run by root"}
			}
			dir := c.who.TempDir(t)
			cmd := exec.Command(spawntest.DaemonPath(t), append([]string{"serve", "--socket", dir + "/s"}, c.args...)...)
			e := start(t, c.who.As(cmd))
			if code := e.code(); code != 1 {
				t.Errorf("status %d", code)
			}
			oneLine(t, "shellspawn", e.stderr.String(), c.want...)
		})
	}
}
