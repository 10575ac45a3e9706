package userdb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

// TestMain lets the test binary play the daemon that is process 1, see
// TestStolenStatus.
func TestMain(m *testing.M) {
	if getent := os.Getenv("USERDB_TEST_REAPER"); getent != "" {
		os.Exit(lookUpWhileReaping(getent))
	}
	os.Exit(m.Run())
}

// directory is a getent that knows alice (uid 5001) and the group staff, answers
// ALICE with alice, takes numbers for numbers as getent does, and notes how it
// was called.
const directory = `#!/bin/sh
dir=$(dirname "$0")
echo "$*" >>"$dir/log"
case "$*" in
"passwd alice"|"passwd ALICE"|"passwd 5001") echo 'alice:*:5001:600:Alice:/home/alice:/bin/bash';;
"passwd 42") echo 'answer:*:42:42::/:/bin/sh';;
"passwd 43") echo 'liar:*:0:0::/:/bin/sh';;
"group staff"|"group STAFF") echo 'staff:*:602:alice,bob';;
"group 42") echo 'answer:*:42:';;
"initgroups alice") echo 'alice                 601 600 602';;
"initgroups local") echo 'local                 7 700';;
"passwd slow"|"initgroups slow") exec sleep 600;;
"passwd broken") exit 1;;
*) exit 2;;
esac
`

// site is a DB over files in a temporary folder and a getent of the test's own.
type site struct {
	*DB
	dir string
}

func newSite(t *testing.T, passwd, group, getent string) site {
	t.Helper()
	dir := t.TempDir()
	s := site{dir: dir, DB: &DB{
		PasswdFile: filepath.Join(dir, "passwd"),
		GroupFile:  filepath.Join(dir, "group"),
		SwitchFile: filepath.Join(dir, "nsswitch.conf"),
		Getent:     filepath.Join(dir, "getent"),
		Timeout:    time.Minute,
	}}
	s.write(t, "passwd", passwd)
	s.write(t, "group", group)
	if getent != "" {
		s.write(t, "getent", getent)
	}
	return s
}

func (s site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// calls returns how getent was called so far.
func (s site) calls(t *testing.T) []string {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
}

func TestFilesFirst(t *testing.T) {
	s := newSite(t, "local:x:100:7::/home/local:/bin/zsh\n", "users:x:7:\nadm:x:4:local\n", directory)
	want := User{"local", "/home/local", "/bin/zsh", 100, 7}
	if u, err := s.ByUID(100); u != want || err != nil {
		t.Errorf("by number: %+v, %v", u, err)
	}
	if u, err := s.ByName("local"); u != want || err != nil {
		t.Errorf("by name: %+v, %v", u, err)
	}
	if gids, err := s.Groups(want); !slices.Equal(gids, []uint32{7, 4}) || err != nil {
		t.Errorf("groups: %v, %v; want 7 and 4", gids, err)
	}
	if gid, err := s.GroupByName("adm"); gid != 4 || err != nil {
		t.Errorf("group adm: %d, %v", gid, err)
	}
	if calls := s.calls(t); calls[0] != "" {
		t.Errorf("getent was asked %q though the files know the answers", calls)
	}
}

func TestGetent(t *testing.T) {
	s := newSite(t, "", "docker:x:900:alice,local\n", directory)
	alice := User{"alice", "/home/alice", "/bin/bash", 5001, 600}
	for _, ask := range []func() (User, error){
		func() (User, error) { return s.ByUID(5001) },
		func() (User, error) { return s.ByName("alice") },
		func() (User, error) { return s.ByName("ALICE") },
	} {
		if u, err := ask(); u != alice || err != nil {
			t.Errorf("got %+v, %v", u, err)
		}
	}
	// The union of what the file and the directory say, each once.
	if gids, err := s.Groups(alice); !slices.Equal(gids, []uint32{600, 900, 601, 602}) || err != nil {
		t.Errorf("groups: %v, %v", gids, err)
	}
	for _, name := range []string{"staff", "STAFF"} {
		if gid, err := s.GroupByName(name); gid != 602 || err != nil {
			t.Errorf("group %s: %d, %v", name, gid, err)
		}
	}
}

// A user of the passwd file is a member of directory groups too where
// nsswitch.conf says that there are any.
func TestGroupsOfLocalUser(t *testing.T) {
	s := newSite(t, "local:x:100:7::/:/bin/sh\nroot:x:0:0::/:/bin/sh\nslow:x:8:8::/:/bin/sh\n", "adm:x:4:local,slow\n", directory)
	s.Timeout = 200 * time.Millisecond
	local, _ := s.ByName("local")
	root, _ := s.ByName("root")
	slow, _ := s.ByName("slow")
	if gids, err := s.Groups(local); !slices.Equal(gids, []uint32{7, 4}) || err != nil {
		t.Errorf("without nsswitch.conf: %v, %v", gids, err)
	}
	s.write(t, "nsswitch.conf", "group: files sss\n")
	s.Timeout = time.Minute
	if gids, err := s.Groups(local); !slices.Equal(gids, []uint32{7, 4, 700}) || err != nil {
		t.Errorf("with sssd: %v, %v", gids, err)
	}
	if gids, err := s.Groups(root); !slices.Equal(gids, []uint32{0}) || err != nil {
		t.Errorf("root: %v, %v", gids, err)
	}
	s.Timeout = 200 * time.Millisecond
	if gids, err := s.Groups(slow); !slices.Equal(gids, []uint32{8, 4}) || err != nil {
		t.Errorf("service that does not answer: %v, %v", gids, err)
	}
	if calls := s.calls(t); slices.Contains(calls, "initgroups root") {
		t.Errorf("a service was asked for the groups of root: %q", calls)
	}
}

// musl's getent has no initgroups and prints nothing for it.
func TestGroupsFromList(t *testing.T) {
	s := newSite(t, "", "", `#!/bin/sh
case "$*" in
"passwd alice") echo 'alice:*:5001:600:Alice:/home/alice:/bin/bash';;
group) printf 'a:*:601:alice\nb:*:602:bob\nc:*:603:bob,alice\n';;
initgroups*) echo 'unknown database' >&2; exit 1;;
*) exit 2;;
esac
`)
	alice, err := s.ByName("alice")
	if err != nil {
		t.Fatal(err)
	}
	if gids, err := s.Groups(alice); !slices.Equal(gids, []uint32{600, 601, 603}) || err != nil {
		t.Errorf("groups: %v, %v", gids, err)
	}
}

func TestUnknown(t *testing.T) {
	s := newSite(t, "local:x:100:7::/:/bin/sh\n", "adm:x:4:\n", directory)
	for _, name := range []string{"nobody-here", "", "-s", "--service=files", "--", "a:b", "a\nb", "\x00", "42", "+42", "-42", " 42", strings.Repeat("a", 100_000)} {
		if u, err := s.ByName(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("user %.20q: %+v, %v", name, u, err)
		}
		if gid, err := s.GroupByName(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("group %.20q: %d, %v", name, gid, err)
		}
	}
	for _, uid := range []uint32{12345, 4294967295, 43} {
		if u, err := s.ByUID(uid); !errors.Is(err, ErrUnknown) {
			t.Errorf("uid %d: %+v, %v", uid, u, err)
		}
	}
	for _, call := range s.calls(t) {
		if _, key, _ := strings.Cut(call, " "); strings.HasPrefix(key, "-") || key == "" || key == "4294967295" {
			t.Errorf("getent was called as %q", call)
		}
	}
	// A number without an entry is a legal identity; it has its own group only.
	if gids, err := s.Groups(User{UID: 12345, GID: 12345}); !slices.Equal(gids, []uint32{12345}) || err != nil {
		t.Errorf("groups of a bare number: %v, %v", gids, err)
	}
}

func TestNoGetent(t *testing.T) {
	s := newSite(t, "local:x:100:7::/:/bin/sh\n", "", "")
	if _, err := s.ByUID(12345); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

func TestNoFiles(t *testing.T) {
	s := newSite(t, "", "", directory)
	for _, name := range []string{s.PasswdFile, s.GroupFile} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if u, err := s.ByUID(5001); u.Name != "alice" || err != nil {
		t.Errorf("got %+v, %v", u, err)
	}
	s.PasswdFile = s.dir
	if _, err := s.ByUID(5001); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("unreadable file: got %v, want its error", err)
	}
}

// A failure of getent is not "unknown": the caller must not take a user whose
// directory server is down for one that does not exist.
func TestGetentFails(t *testing.T) {
	s := newSite(t, "", "", directory)
	if _, err := s.ByName("broken"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("exit status 1: %v", err)
	}
	s.Timeout = 100 * time.Millisecond
	start := time.Now()
	_, err := s.ByName("slow")
	if err == nil || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("no answer: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("came back after %v", took)
	}
}

// E3: getent gets a fixed environment and nothing that this process has open, be it
// close-on-exec or not.
func TestSurroundingsOfGetent(t *testing.T) {
	dir := t.TempDir()
	stray, err := unix.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stray)
	t.Setenv("SECRET", "x")
	s := newSite(t, "", "", "#!/bin/sh\n{ env; pwd; readlink /proc/$$/fd/*; } >"+dir+"/seen\nexit 2\n")
	if _, err := s.ByName("alice"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	seen, err := os.ReadFile(dir + "/seen")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(seen)) {
		if name, _, ok := strings.Cut(line, "="); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"LC_ALL", "PATH", "PWD"}) {
		t.Errorf("it has the variables %q", names)
	}
	if text := string(seen); !strings.Contains(text, "\n/\n") || strings.Contains(text, dir+"\n") {
		t.Errorf("its directory and descriptors:\n%s", text)
	}
}

func TestAnswersAreKept(t *testing.T) {
	s := newSite(t, "", "", directory)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if u, err := s.ByUID(5001); u.Name != "alice" || err != nil {
				t.Errorf("got %+v, %v", u, err)
			}
			if _, err := s.ByUID(12345); !errors.Is(err, ErrUnknown) {
				t.Errorf("uid 12345: %v", err)
			}
		})
	}
	all.Wait()
	calls := s.calls(t)
	slices.Sort(calls)
	// On a machine slow enough an answer runs out of date and is fetched again.
	if calls = slices.Compact(calls); !slices.Equal(calls, []string{"passwd 12345", "passwd 5001"}) {
		t.Errorf("getent was called as %q", calls)
	}
}

func TestAnswersRunOut(t *testing.T) {
	var a answers
	asked := 0
	fetch := func(question) ([]byte, error) { asked++; return []byte("x"), nil }
	q := question{"passwd", "alice"}
	for range 3 {
		a.get(q, fetch)
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	a.known[q].until = time.Now().Add(-time.Second)
	if a.get(q, fetch); asked != 2 {
		t.Errorf("asked %d times, want a second time for an answer out of date", asked)
	}
	for i := range 3 * maxAnswers {
		a.get(question{"passwd", strconv.Itoa(i)}, fetch)
	}
	if len(a.known) > maxAnswers {
		t.Errorf("%d answers kept, want at most %d", len(a.known), maxAnswers)
	}
}

// B9: the daemon as process 1 reaps every child it finds, and may find getent before
// its starter does. The answer is right all the same, and nothing is left open.
func TestStolenStatus(t *testing.T) {
	s := newSite(t, "", "", directory)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "USERDB_TEST_REAPER="+s.Getent)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func lookUpWhileReaping(getent string) int {
	go func() {
		for {
			ptyexec.ReapOrphans()
			runtime.Gosched()
		}
	}()
	open := 0
	for i := range 20 {
		db := DB{PasswdFile: "/dev/null", GroupFile: "/dev/null", Getent: getent, Timeout: time.Minute}
		u, err := db.ByName("alice")
		if u.UID != 5001 || err != nil {
			fmt.Printf("round %d: %+v, %v\n", i, u, err)
			return 1
		}
		if _, err := db.ByName("nobody-here"); !errors.Is(err, ErrUnknown) {
			fmt.Printf("round %d: unknown user: %v\n", i, err)
			return 1
		}
		if _, err := db.ByName("broken"); err == nil || errors.Is(err, ErrUnknown) {
			fmt.Printf("round %d: a look-up that fails: %v\n", i, err)
			return 1
		}
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil || i > 0 && len(fds) != open {
			fmt.Printf("round %d: %d descriptors, %d before, %v\n", i, len(fds), open, err)
			return 1
		}
		open = len(fds)
	}
	return 0
}

// The files of this machine, compared with what its libc makes of them.
func TestAgainstSystem(t *testing.T) {
	var db DB
	table, err := db.passwd.load("/etc/passwd", parsePasswd)
	if err != nil {
		t.Fatal(err)
	}
	for name := range table.byName {
		u, err := db.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		gids, err := db.Groups(u)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("id", "-G", name).Output()
		if err != nil {
			t.Fatalf("id -G %s: %v", name, err)
		}
		var want []uint32
		for _, field := range strings.Fields(string(out)) {
			gid, _ := strconv.ParseUint(field, 10, 32)
			want = append(want, uint32(gid))
		}
		slices.Sort(gids)
		slices.Sort(want)
		if !slices.Equal(gids, want) {
			t.Errorf("groups of %s: %v, id says %v", name, gids, want)
		}
	}
}

// The getent of this machine answers for the files when ours are empty.
func TestSystemGetent(t *testing.T) {
	db := DB{PasswdFile: "/dev/null", GroupFile: "/dev/null"}
	var files DB
	want, err := files.ByUID(0)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := db.ByUID(0); u != want || err != nil {
		t.Errorf("by number: %+v, %v; want %+v", u, err, want)
	}
	if u, err := db.ByName(want.Name); u != want || err != nil {
		t.Errorf("by name: %+v, %v; want %+v", u, err, want)
	}
	if gids, err := db.Groups(want); len(gids) == 0 || gids[0] != want.GID || err != nil {
		t.Errorf("groups: %v, %v", gids, err)
	}
}
