package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// C1: EOF on stdin arrives, and output after it arrives.
func TestC1EOFOnStdin(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		out, errs, code := d.Run([]byte("one\ntwo"), "sh", "-c", "cat; echo after; echo oops >&2; exit 3")
		if string(out) != "one\ntwoafter\n" || string(errs) != "oops\n" || code != 3 {
			t.Errorf("%q, %q, status %d", out, errs, code)
		}
	})
}

// C1: neither client nor daemon keeps a copy of stdin or stdout that would hold
// back an EOF: /dev/null lies over the client's own.
func TestC1NoCopies(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		in, input := pipePair(t)
		output, out := pipePair(t)
		cmd := d.Client("sh", "-c", "echo started; exec <&- >&-; exec sleep 1000")
		cmd.Stdin, cmd.Stdout = in, out
		own := spawntest.FDs(os.Getpid())
		pipes := []string{own[int(in.Fd())], own[int(out.Fd())]}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Signal(unix.SIGTERM)
		in.Close()
		out.Close()
		for _, f := range []*os.File{input, output} {
			if err := f.SetDeadline(time.Now().Add(spawntest.Deadline)); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := io.ReadAll(output); string(text) != "started\n" || err != nil {
			t.Errorf("stdout gave %q, %v; want its end while the program lives", text, err)
		}
		for err := error(nil); !errors.Is(err, unix.EPIPE); {
			if _, err = input.WriteString("into nothing"); err != nil && !errors.Is(err, unix.EPIPE) {
				t.Fatalf("write to stdin: %v, want %v", err, unix.EPIPE)
			}
		}
		if len(d.Children()) != 1 {
			t.Error("the program has ended, which proves nothing")
		}
		for fd := range 2 {
			if got := spawntest.FDs(cmd.Process.Pid)[fd]; got != "/dev/null" {
				t.Errorf("descriptor %d of the client is %s", fd, got)
			}
		}
		for fd, target := range d.FDs() {
			if target == pipes[0] || target == pipes[1] {
				t.Errorf("descriptor %d of the daemon is one of the pipes", fd)
			}
		}
	})
}

func pipePair(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close() // both may be closed already
		_ = w.Close()
	})
	return r, w
}

// C1: an endless or an idle stdin does not delay the end, with a pty or without.
func TestC1EndlessStdin(t *testing.T) {
	d := spawntest.StartDaemon(t)
	eachMode(t, func(t *testing.T, flag string) {
		idle, hold := pipePair(t)
		zero, err := os.Open("/dev/zero")
		if err != nil {
			t.Fatal(err)
		}
		defer zero.Close()
		for name, stdin := range map[string]*os.File{"idle": idle, "endless": zero} {
			cmd := d.Client(flag, "sh", "-c", "echo hello; exit 3")
			cmd.Stdin = stdin
			out, errs, code := d.Collect(cmd, nil)
			if !bytes.Contains(out, []byte("hello")) || code != 3 || len(errs) != 0 {
				t.Errorf("%s stdin: %.200q, %q, status %d", name, out, errs, code)
			}
		}
		_ = hold.Close()
	})
}

// C2: stdout and stderr stay apart.
func TestC2Apart(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i + 1)); done`
	out, errs, code := d.Run(nil, "sh", "-c", script)
	wantOut, wantErr, _ := d.Collect(d.Command("sh", "-c", script), nil)
	same(t, "stdout", out, wantOut)
	same(t, "stderr", errs, wantErr)
	if code != 0 {
		t.Errorf("status %d", code)
	}
}

// C2: 10 GiB of binary arrive intact.
func TestC2Bulk(t *testing.T) {
	t.Parallel()
	blocks := spawntest.Count(10<<10, 10<<10)
	d := spawntest.StartDaemon(t)
	block := make([]byte, 1<<20)
	_, _ = io.ReadFull(spawntest.Random(2), block) // never fails
	file := filepath.Join(d.Dir, "block")
	write(t, file, string(block), 0o644)
	cmd := d.Client("sh", "-c", `i=0; while [ $i -lt "$0" ]; do set -- "$1" "$1" "$1" "$1" "$1" "$1" "$1" "$1"; cat "$@"; i=$((i + 8)); set -- "$1"; done`,
		strconv.Itoa(blocks), file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	got := make([]byte, len(block))
	n := 0
	for ; ; n++ {
		if _, err = io.ReadFull(out, got); err != nil {
			break
		}
		if !bytes.Equal(got, block) {
			t.Errorf("block %d is not what was written", n)
			break
		}
	}
	if want := (blocks + 7) / 8 * 8; err != io.EOF || n != want {
		t.Errorf("%d blocks of %d, %v", n, want, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// C3: a reader that has enough ends the program at once, without a word.
func TestC3EarlyReader(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		out, errs, _ := d.Collect(d.Command("bash", "-c", `"$0" yes | head -1; echo ${PIPESTATUS[@]}`, spawntest.ClientPath(t)), nil)
		if string(out) != "y\n141 0\n" || len(errs) != 0 {
			t.Errorf("%q, %q", out, errs)
		}
	})
}

// streamKinds are what a stream of the client may be in C4.
var streamKinds = []string{"terminal", "pipe", "file", "closed"}

// C4: every mix of terminal, pipe, file and nothing on the three streams gives
// the answers of test -t that a direct run gives, and data goes where it should.
func TestC4EveryMix(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		for i := range 64 {
			mix := []string{streamKinds[i/16], streamKinds[i/4%4], streamKinds[i%4]}
			t.Run(strings.Join(mix, "-"), func(t *testing.T) {
				want := runMix(t, d, mix, "")
				got := runMix(t, d, mix, spawntest.ClientPath(t))
				if got != want {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			})
		}
	})
}

// mixResult is what a run with a mix of streams has to show.
type mixResult struct {
	code                     int
	terminals                [3]bool
	terminal, stdout, stderr string // what came out
}

// runMix runs a program with these streams, directly or through a client.
func runMix(t *testing.T, d *spawntest.Daemon, mix []string, client string) (result mixResult) {
	t.Helper()
	dir, err := os.MkdirTemp(d.Dir, "mix")
	if err == nil {
		err = os.Chown(dir, d.Who.UID, d.Who.GID)
	}
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{spawntest.Helper(t, "spawntest-streams"), filepath.Join(dir, "report")}
	if client != "" {
		argv = append([]string{client}, argv...)
	}
	cmd, outer := mixed(t, d, mix, dir, argv)
	term := spawntest.OpenTerminal(t, d.Who).Start(cmd)
	for _, f := range outer.inside {
		_ = f.Close() // the program has its own
	}
	result.code = term.Wait()
	result.terminal = string(printed(term))
	result.stdout, result.stderr = outer.text(t, 1), outer.text(t, 2)
	var report [3]spawntest.StreamReport
	if err := json.Unmarshal([]byte(contents(t, argv[len(argv)-1])), &report); err != nil {
		t.Fatal(err)
	}
	for fd, kind := range mix {
		result.terminals[fd] = report[fd].Terminal
		if kind == "closed" && report[fd].File != "/dev/null" {
			t.Errorf("closed stream %d is %s inside", fd, report[fd].File)
		}
	}
	return result
}

// mixStreams are the outer ends of the streams of a mix.
type mixStreams struct {
	inside []*os.File
	pipes  [3]*os.File
	files  [3]string
}

func (s *mixStreams) text(t *testing.T, fd int) string {
	t.Helper()
	switch {
	case s.pipes[fd] != nil:
		text, err := io.ReadAll(s.pipes[fd])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	case s.files[fd] != "":
		return contents(t, s.files[fd])
	}
	return ""
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// mixed prepares a command with the streams of a mix. A shell closes those that
// are to be closed, just before it becomes the command.
func mixed(t *testing.T, d *spawntest.Daemon, mix []string, dir string, argv []string) (*exec.Cmd, *mixStreams) {
	t.Helper()
	streams := new(mixStreams)
	var given [3]*os.File
	closing := []string{"<&-", ">&-", "2>&-"}
	script := `exec "$0" "$@"`
	for fd, kind := range mix {
		switch kind {
		case "closed":
			script += " " + closing[fd]
		case "file":
			streams.files[fd] = filepath.Join(dir, "stream"+strconv.Itoa(fd))
			write(t, streams.files[fd], "", 0o600)
			f, err := os.OpenFile(streams.files[fd], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			given[fd] = f
		case "pipe":
			r, w := pipePair(t)
			given[fd], streams.pipes[fd] = w, r
			if fd == 0 {
				given[fd], streams.pipes[fd] = r, w
			}
		}
		if given[fd] != nil {
			streams.inside = append(streams.inside, given[fd])
		}
	}
	cmd := d.Command(append([]string{"sh", "-c", script}, argv...)...)
	// An interface that holds a nil file would not be nil.
	if given[0] != nil {
		cmd.Stdin = given[0]
	}
	if given[1] != nil {
		cmd.Stdout = given[1]
	}
	if given[2] != nil {
		cmd.Stderr = given[2]
	}
	return cmd, streams
}

// C4: through the client, a closed stream is /dev/null inside.
func TestC4ClosedIsNull(t *testing.T) {
	d := spawntest.StartDaemon(t)
	file := filepath.Join(d.Dir, "links")
	script := `exec "$0" -T sh -c 'ls -l /proc/$$/fd >"$0"' "$1" <&- >&- 2>&-`
	if _, _, code := d.Collect(d.Command("sh", "-c", script, spawntest.ClientPath(t), file), nil); code != 0 {
		t.Errorf("status %d", code)
	}
	if text := contents(t, file); strings.Count(text, "-> /dev/null") != 3 {
		t.Errorf("descriptors inside:\n%s", text)
	}
}

// C5: a daemon in the background holds nothing that a caller waits for: it has
// /dev/null or its log on 0 to 2, a session of its own, / as directory, and no
// other descriptor of its caller's.
func TestC5BackgroundDaemon(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who)) // lends its environment
		dir := who.TempDir(t)
		socket, pidFile := filepath.Join(dir, "s"), filepath.Join(dir, "pid")
		script := `out=$("$0" serve --background --socket "$1" --pid-file "$2" --log-file "$3" 9<"$0"); echo "status=$? out=$out."`
		out, errs, _ := d.Collect(d.Command("bash", "-c", script, spawntest.DaemonPath(t), socket, pidFile, filepath.Join(dir, "log")), nil)
		if string(out) != "status=0 out=.\n" {
			t.Fatalf("%q, %q", out, errs)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(contents(t, pidFile)))
		if err != nil {
			t.Fatal(err)
		}
		defer spawntest.Eventually(t, "end of the daemon", func() bool { return !spawntest.Alive(pid) })
		defer syscall.Kill(pid, unix.SIGTERM)
		client := d.Client("-S", socket, "sh", "-c", "echo hello; exit 3")
		if out, errs, code := d.Collect(client, nil); string(out) != "hello\n" || code != 3 {
			t.Errorf("a client: %q, %q, status %d", out, errs, code)
		}
		detached(t, pid, filepath.Join(dir, "log"), spawntest.DaemonPath(t))
	})
}

// detached checks what a background daemon may not share with its caller.
func detached(t *testing.T, pid int, log, stray string) {
	t.Helper()
	fds := spawntest.FDs(pid)
	for fd := range 3 {
		if got := fds[fd]; got != "/dev/null" && got != log {
			t.Errorf("descriptor %d is %s", fd, got)
		}
	}
	for fd, target := range fds {
		if target == stray || strings.HasPrefix(target, "pipe:") {
			t.Errorf("descriptor %d is %s", fd, target)
		}
	}
	p, _ := spawntest.Inspect(pid)
	self, _ := spawntest.Inspect(os.Getpid())
	if p.Session == self.Session || p.Foreground != -1 {
		t.Errorf("the daemon is in session %d with foreground group %d; ours is %d", p.Session, p.Foreground, self.Session)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
		t.Errorf("the daemon's directory is %s, %v", cwd, err)
	}
}

// C5: with a pty, what stays in the background holds the pty and not the
// caller's pipe, so a command substitution ends with the program.
func TestC5Substitution(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `out=$("$0" -t sh -c 'trap "" HUP; sleep 1000 2>/dev/null & echo $!; exit 3'); echo "$out $?"`
	out, errs, _ := d.Collect(d.Command("bash", "-c", script, spawntest.ClientPath(t)), nil)
	words := strings.Fields(string(out))
	if len(words) != 2 || words[1] != "3" {
		t.Fatalf("%q, %q", out, errs)
	}
	holder, err := strconv.Atoi(words[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(holder, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// C7: arguments arrive byte for byte.
func TestC7Arguments(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		every := make([]byte, 255)
		for i := range every {
			every[i] = byte(i + 1)
		}
		args := []string{"", "a b", "", "new\nline\n", "\xff\xfe", string(every), "'\"\\$HOME`id`", "-t", "--", "-", "--help", "*", "é", ""}
		command := append([]string{spawntest.Helper(t, "spawntest-args")}, args...)
		want, _, _ := d.Collect(d.Command(command...), nil)
		var check [][]int
		if err := json.Unmarshal(want, &check); err != nil || len(check) != len(args) {
			t.Fatalf("the oracle says %q, %v", want, err)
		}
		for _, flags := range [][]string{nil, {"--"}, {"-T", "--"}} {
			out, errs, code := d.Run(nil, append(flags, command...)...)
			if code != 0 || len(errs) != 0 {
				t.Errorf("%q: status %d, %s", flags, code, errs)
			}
			same(t, fmt.Sprintf("arguments after %q", flags), out, want)
		}
	})
}

// C7: a program whose name starts with a dash needs the double dash.
func TestC7LeadingDash(t *testing.T) {
	d := spawntest.StartDaemon(t)
	write(t, filepath.Join(d.Dir, "-odd"), "#!/bin/sh\necho odd \"$@\"\n", 0o755)
	out, errs, code := d.Run(nil, "-e", "PATH="+d.Dir, "--", "-odd", "-x", "--", "y")
	if string(out) != "odd -x -- y\n" || code != 0 {
		t.Errorf("%q, %q, status %d", out, errs, code)
	}
}

// C7: the longest string there is, and as much in all as the kernel takes.
func TestC7LongArguments(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		longest := strings.Repeat("x", 128<<10-1) // and its NUL
		eachMode(t, func(t *testing.T, flag string) {
			out, errs, code := d.Run(nil, flag, "sh", "-c", `echo ${#1}`, "sh", longest)
			if strings.TrimSpace(string(out)) != strconv.Itoa(len(longest)) || code != 0 {
				t.Errorf("one long string: %q, %q, status %d", out, errs, code)
			}
		})
		_, errs, code := d.Run(nil, "-e", "LONG="+longest[:len(longest)-5], "sh", "-c", `test ${#LONG} = 131066`)
		if code != 0 {
			t.Errorf("one long variable: status %d, %s", code, errs)
		}
		var many []string
		for range 15 {
			many = append(many, longest)
		}
		many = append(many, make([]string, 1000)...)
		args := append([]string{"sh", "-c", `echo $# ${#1} ${#15}`, "sh"}, many...)
		out, errs, code := d.Run(nil, args...)
		if string(out) != fmt.Sprintf("%d %d %d\n", len(many), len(longest), len(longest)) || code != 0 {
			t.Errorf("many long strings: %q, %q, status %d", out, errs, code)
		}
	})
}

// C7: the directory is the client's. One that is asked for and missing is an
// error; one that has gone away is not.
func TestC7Directory(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		odd := filepath.Join(d.Dir, "odd \n\xff name")
		if err := os.Mkdir(odd, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{d.Dir, "/", "/usr/bin", odd} {
			cmd := d.Client("pwd")
			cmd.Dir = dir
			out, _, code := d.Collect(cmd, nil)
			want, _, _ := d.Collect(inDir(d.Command("pwd"), dir), nil)
			same(t, "client's directory", out, want)
			out, _, _ = d.Run(nil, "-C", dir, "pwd")
			same(t, "directory given", out, want)
			if code != 0 {
				t.Errorf("status %d", code)
			}
		}
		out, errs, code := d.Run(nil, "-C", "/no/such/directory", "pwd")
		if code != 125 || len(out) != 0 {
			t.Errorf("status %d, want 125; %q", code, out)
		}
		oneLine(t, errs, "/no/such/directory", unix.ENOENT.Error())
	})
}

func inDir(cmd *exec.Cmd, dir string) *exec.Cmd {
	cmd.Dir = dir
	return cmd
}

// C7: a directory that has gone away under the client is replaced by HOME, or
// what there is, with a warning, and the program runs.
func TestC7DirectoryGone(t *testing.T) {
	d := spawntest.StartDaemon(t)
	gone := filepath.Join(d.Dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `cd "$1" && rmdir "$1" && exec "$0" sh -c 'cd .; pwd; echo "$HOME"; exit 4'`
	out, errs, code := d.Collect(d.Command("sh", "-c", script, spawntest.ClientPath(t), gone), nil)
	lines := strings.Split(string(out), "\n")
	if code != 4 || len(lines) < 2 || lines[0] != lines[1] && lines[0] != "/" {
		t.Errorf("status %d, %q", code, out)
	}
	oneLine(t, errs)
}

// C8: the umask is the client's.
func TestC8Umask(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Under("sh", "-c", `umask 0111; exec "$0" "$@"`))
		eachMode(t, func(t *testing.T, flag string) {
			for _, mask := range []string{"0000", "0022", "0077", "0027", "0777"} {
				script := `umask $2; exec "$0" "$1" sh -c umask`
				out, errs, code := d.Collect(d.Command("sh", "-c", script, spawntest.ClientPath(t), flag, mask), nil)
				if strings.TrimSpace(string(out)) != mask || code != 0 {
					t.Errorf("umask %q, want %s: %q, status %d", out, mask, errs, code)
				}
			}
		})
	})
}

// C8: the limit of open files is what the daemon had at its own start, which the
// Go runtime raises for itself.
func TestC8OpenFiles(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Under("sh", "-c", `ulimit -Sn 777; exec "$0" "$@"`))
		eachMode(t, func(t *testing.T, flag string) {
			hard, _, _ := d.Collect(d.Command("sh", "-c", "ulimit -Hn"), nil)
			out, errs, code := d.Run(nil, flag, "sh", "-c", "ulimit -Sn; ulimit -Hn")
			if got := strings.Fields(string(out)); len(got) != 2 || got[0] != "777" || got[1] != strings.TrimSpace(string(hard)) || code != 0 {
				t.Errorf("limits %q, want 777 and %s: %q, status %d", out, hard, errs, code)
			}
		})
	})
}

// C8: a daemon that is protected from the OOM killer does not protect its shells.
func TestC8OOMScore(t *testing.T) {
	spawntest.NeedRoot(t)
	needCapability(t, unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE") // containers may lack it
	d := spawntest.StartDaemon(t, spawntest.Under("sh", "-c", `echo -900 >/proc/self/oom_score_adj; exec "$0" "$@"`))
	if text := contents(t, fmt.Sprintf("/proc/%d/oom_score_adj", d.PID)); text != "-900\n" {
		t.Fatalf("the daemon has %s", text)
	}
	eachMode(t, func(t *testing.T, flag string) {
		out, errs, code := d.Run(nil, flag, "cat", "/proc/self/oom_score_adj")
		if strings.TrimSpace(string(out)) != "0" || code != 0 {
			t.Errorf("a shell has %q: %q, status %d", out, errs, code)
		}
	})
}

// needCapability skips a test that even root cannot run without it.
func needCapability(t *testing.T, number uint, name string) {
	t.Helper()
	held, err := strconv.ParseUint(spawntest.Status(os.Getpid(), "CapEff"), 16, 64)
	if err != nil || held>>number&1 == 0 {
		t.Skip("needs root with " + name)
	}
}

// C1, E3: the program has exactly the three descriptors.
func TestC1ThreeDescriptors(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		eachMode(t, func(t *testing.T, flag string) {
			// The fourth is the listing itself.
			out, _, code := d.Run(nil, flag, "ls", "/proc/self/fd")
			if got := strings.Fields(string(out)); strings.Join(got, " ") != "0 1 2 3" || code != 0 {
				t.Errorf("descriptors %q, status %d", got, code)
			}
		})
	})
}
