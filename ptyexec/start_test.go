package ptyexec_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() {
	helpers["args"] = func() { fmt.Printf("%q\n%q\n", os.Args, os.Environ()) }
	helpers["closed"] = startWithoutStdio
}

// dirWith returns a directory that holds what the tests of the search need.
func dirWith(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"plain/tool", "#!/bin/sh\n", 0o644},
		{"good/tool", "#!/bin/sh\necho good $0 \"$@\"\n", 0o755},
		{"other/tool", "#!/bin/sh\necho other\n", 0o755},
		{"good/lost", "#!/nonexistent/interpreter\n", 0o755},
		{"good/text", "echo no shell is asked to guess\n", 0o755},
		{"good/garbage", "\x7fELF", 0o755},
		{"dir/tool/x", "", 0o644},
		{"file", "", 0o755},
	} {
		path := filepath.Join(dir, file.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file.text), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSearch finds programs, or says why not. PATH elements are written with the
// directory as D.
func TestSearch(t *testing.T) { // B2
	dir := dirWith(t)
	for _, c := range []struct {
		name, program, path, dir string
		want                     string
		err                      syscall.Errno
	}{
		{"by path", "D/good/tool", "", "", "good D/good/tool x", 0},
		{"relative to the directory", "./tool", "", "D/good", "good ./tool x", 0},
		{"on PATH", "tool", "D/good:D/other", "", "good D/good/tool x", 0},
		{"after misses", "tool", "/nonexistent:D/file:D/plain:D/dir:D/other", "", "other", 0},
		{"trailing slash", "tool", "D/good/", "", "good D/good/tool x", 0},
		{"empty element", "tool", "/nonexistent:", "D/other", "other", 0},
		{"empty PATH", "tool", "", "D/other", "other", 0},
		{"relative element", "tool", "other", "D", "other", 0},
		{"element too long", "tool", strings.Repeat("x", 5000) + ":D/other", "", "other", 0},
		{"nowhere", "tool", "D:/nonexistent", "", "", unix.ENOENT},
		{"only below a file", "tool", "D/file", "", "", unix.ENOTDIR},
		{"below a file or nowhere", "tool", "D:D/file", "", "", unix.ENOENT},
		{"not executable, and nowhere else", "tool", "D/plain:D", "", "", unix.EACCES},
		{"a directory", "tool", "D/dir", "", "", unix.EACCES},
		{"not executable", "D/plain/tool", "", "", "", unix.EACCES},
		{"directory by path", "D/dir", "", "", "", unix.EACCES},
		{"missing", "D/none", "", "", "", unix.ENOENT},
		{"below a file by path", "D/file/x", "", "", "", unix.ENOTDIR},
		{"empty name", "", "D/good", "", "", unix.ENOENT},
		{"missing interpreter", "lost", "D/good", "", "", unix.ENOENT},
		{"no format", "text", "D/good:D/other", "", "", unix.ENOEXEC},
		{"broken binary", "D/good/garbage", "", "", "", unix.ENOEXEC},
		{"NUL", "to\x00ol", "D/good", "", "", unix.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := strings.NewReplacer("D", dir)
			s := ptyexec.Spec{Program: in.Replace(c.program), Dir: in.Replace(c.dir)}
			s.Args = []string{"tool", "x"}
			s.Env = []string{"PATH=/nonexistent/first", "PATH=" + in.Replace(c.path)}
			if c.err == 0 {
				if got, status := output(t, s); got != in.Replace(c.want)+"\n" || status != 0 {
					t.Errorf("got %q, %v", got, status)
				}
				return
			}
			want := ptyexec.StartError{Op: "exec", Path: s.Program, Err: c.err}
			checkError(t, s, want, "exec "+s.Program+": "+c.err.Error())
		})
	}
}

// checkError starts s, which must fail, and leave nothing behind.
func checkError(t *testing.T, s ptyexec.Spec, want ptyexec.StartError, text string) {
	t.Helper()
	before := openFDs(t)
	p, err := ptyexec.Start(context.Background(), s)
	if err == nil {
		_ = p.Kill()
		wait(t, p)
		t.Fatal("started")
	}
	var got *ptyexec.StartError
	if !errors.As(err, &got) || *got != want || err.Error() != text || !errors.Is(err, want.Err) {
		t.Errorf("got %v, want %v", err, &want)
	}
	if after := openFDs(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before %q, after %q", before, after)
	}
	if statusField(os.Getpid(), "Name") == "" {
		t.Error("no /proc")
	}
}

// TestFound: a file that the user can see is told from one that is not there.
func TestFound(t *testing.T) { // B2
	dir := t.TempDir()
	lost := filepath.Join(dir, "lost")
	if err := os.WriteFile(lost, []byte("#!/nonexistent/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := ": no such file or directory"
	for _, path := range []string{lost, "./lost"} {
		checkError(t, ptyexec.Spec{Program: path, Dir: dir}, ptyexec.StartError{Op: "exec", Path: path, Err: unix.ENOENT, Found: true}, "exec "+path+text)
	}
	none := filepath.Join(dir, "none")
	checkError(t, ptyexec.Spec{Program: none}, ptyexec.StartError{Op: "exec", Path: none, Err: unix.ENOENT}, "exec "+none+text)
}

// TestDefaultPath searches where the environment has no PATH.
func TestDefaultPath(t *testing.T) {
	got, status := output(t, ptyexec.Spec{Program: "sh", Args: []string{"sh", "-c", "echo found"}})
	if got != "found\n" || status != 0 {
		t.Errorf("%q %v", got, status)
	}
}

// TestDir enters a directory, or one to fall back to, or fails by name.
func TestDir(t *testing.T) { // C7
	dir := dirWith(t)
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		fallback  []string
		want      string
		err       syscall.Errno
	}{
		{"none asked for", "", []string{"/"}, "", 0},
		{"there", dir, []string{"/nonexistent"}, dir, 0},
		{"first fallback", "/nonexistent", []string{dir, "/"}, dir, 0},
		{"second fallback", "/nonexistent", []string{dir + "/file", "/"}, "/", 0},
		{"missing", "/nonexistent", nil, "", unix.ENOENT},
		{"a file", dir + "/file", nil, "", unix.ENOTDIR},
		{"none works", dir + "/file", []string{"/nonexistent", "/none"}, "", unix.ENOTDIR},
		{"NUL", "/\x00", nil, "", unix.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sh("pwd -P")
			s.Dir, s.Fallback = c.dir, c.fallback
			if c.err != 0 {
				checkError(t, s, ptyexec.StartError{Op: "chdir", Path: c.dir, Err: c.err}, "chdir "+c.dir+": "+c.err.Error())
				return
			}
			r, w := pipe(t)
			s.Stdio = &[3]int{-1, int(w.Fd()), -1}
			p := start(t, s)
			w.Close()
			want := c.want
			if want == "" {
				want, _ = os.Getwd()
			}
			if want, _ = filepath.EvalSymlinks(want); readAll(t, r) != want+"\n" || p.Dir() != c.want {
				t.Errorf("Dir %q, want %q", p.Dir(), c.want)
			}
			wait(t, p)
		})
	}
	t.Run("no permission", func(t *testing.T) {
		s := sh("pwd")
		s.Dir = closed
		if os.Geteuid() == 0 {
			// The user's rights count and not ours.
			s.Credential = &ptyexec.Credential{UID: 4321, GID: 4321}
			if err := os.Chmod(closed, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		checkError(t, s, ptyexec.StartError{Op: "chdir", Path: closed, Err: unix.EACCES}, "chdir "+closed+": permission denied")
	})
}

// TestArgs passes arguments and environment byte for byte.
func TestArgs(t *testing.T) { // C7, E3
	every := make([]byte, 255)
	for i := range every {
		every[i] = byte(i + 1)
	}
	s := helper("args")
	s.Args = []string{"-name", "", " ", "a\nb", "--", "-x", "\xff\xfe", string(every), "*$`\"'\\", ""}
	got, status := output(t, s)
	want := fmt.Sprintf("%q\n%q\n", s.Args, s.Env)
	if got != want || status != 0 {
		t.Errorf("got %s (%v), want %s", got, status, want)
	}
	s.Args = nil
	if got, _ = output(t, s); !strings.HasPrefix(got, `["/proc/self/exe"]`) {
		t.Errorf("without arguments: %s", got)
	}
}

// TestArgLimits goes up to the kernel's own limits and one beyond: 128 KiB for a
// string with its NUL, and a quarter of the stack limit for all.
func TestArgLimits(t *testing.T) { // C7, B2
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		t.Fatal(err)
	}
	const longest = 128<<10 - 1
	total := min(stack.Cur/4, 6<<20)
	big := strings.Repeat("x", longest)
	many := int(total/(longest+1)) - 1
	for _, c := range []struct {
		name string
		args []string
		fits bool
	}{
		{"longest string", []string{"true", big}, true},
		{"string too long", []string{"true", big + "x"}, false},
		{"as much as fits", append([]string{"true"}, slices.Repeat([]string{big}, many)...), true},
		{"too much", append([]string{"true"}, slices.Repeat([]string{big}, many+2)...), false},
		{"many small ones", append([]string{"true"}, slices.Repeat([]string{"x"}, 50000)...), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ptyexec.Spec{Program: "true", Args: c.args}
			if c.fits {
				if status := wait(t, start(t, s)); status != 0 {
					t.Error(status)
				}
				return
			}
			checkError(t, s, ptyexec.StartError{Op: "exec", Path: "true", Err: unix.E2BIG}, "exec true: argument list too long")
		})
	}
}

// TestStdio passes descriptors in an order in which naive dup2 calls would lose
// some, and leaves no others open.
func TestStdio(t *testing.T) { // C1, E3
	// A descriptor that some other code has forgotten to mark.
	leak, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)

	r, w := pipe(t)
	in, typed := pipe(t)
	if _, err := typed.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	s := sh("read line; echo $line >&2; exec 2>&-; exec ls /proc/self/fd")
	s.Stdio = &[3]int{int(in.Fd()), int(w.Fd()), int(w.Fd())}
	p := start(t, s)
	w.Close()
	// ls itself opens the directory, as the lowest free descriptor, 2.
	if got := readAll(t, r); got != "typed\n0\n1\n2\n" {
		t.Errorf("got %q", got)
	}
	wait(t, p)

	// Our own 0, 1 and 2 in another order.
	files := [3]string{}
	for fd := range files {
		files[fd], _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	s = ptyexec.Spec{Program: "sleep", Args: []string{"sleep", "100"}, Stdio: &[3]int{2, 0, 1}, Terminal: &ptyexec.Terminal{}}
	p = start(t, s)
	defer func() { _ = p.Kill() }()
	for fd, source := range *s.Stdio {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), fd)); got != files[source] {
			t.Errorf("descriptor %d is %q %v, want %q", fd, got, err, files[source])
		}
	}
}

// TestStdioDefault: without a terminal what is not given is /dev/null.
func TestStdioDefault(t *testing.T) { // C4
	p := start(t, ptyexec.Spec{Program: "sleep", Args: []string{"sleep", "100"}})
	for fd := range 3 {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), fd)); got != os.DevNull {
			t.Errorf("descriptor %d is %q %v", fd, got, err)
		}
	}
	s := sh("exit")
	s.Stdio = &[3]int{-1, 9999, -1}
	checkError(t, s, ptyexec.StartError{Op: "descriptors", Err: unix.EBADF}, "descriptors: bad file descriptor")
}

// startWithoutStdio starts a program from a process without descriptors 0 to 2,
// whose new ones come to lie there.
func startWithoutStdio() {
	out, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 100)
	check(err == nil, "dup: %v", err)
	for fd := range 3 {
		_ = unix.Close(fd)
	}
	s := helper("controlling")
	s.Terminal = &ptyexec.Terminal{}
	s.Stdio = &[3]int{-1, out, -1}
	p, err := ptyexec.Start(context.Background(), s)
	if err == nil {
		_, err = p.Wait()
	}
	if err != nil {
		_, _ = unix.Write(out, []byte(err.Error()))
	}
}

func TestClosedStdio(t *testing.T) {
	if got, _ := output(t, helper("closed")); !strings.HasPrefix(got, "controlling terminal, group") {
		t.Errorf("got %q", got)
	}
}
