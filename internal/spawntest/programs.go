package spawntest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs holds the directory of the built programs and of the helpers. Each
// part is made at its first use and lasts until Main returns; any user may read
// and run it.
var programs struct {
	once sync.Once
	dir  string
	err  error

	build    sync.Once
	bin      string
	buildErr error

	mu     sync.Mutex
	linked map[string]bool
}

// DaemonPath returns the path of the shellspawn program.
func DaemonPath(t testing.TB) string { t.Helper(); return program(t, "shellspawn") }

// ClientPath returns the path of the darling-shell program.
func ClientPath(t testing.TB) string { t.Helper(); return program(t, "darling-shell") }

func program(t testing.TB, name string) string {
	t.Helper()
	dir := programDir(t)
	programs.build.Do(func() { programs.bin, programs.buildErr = buildPrograms(dir) })
	if programs.buildErr != nil {
		t.Fatal(programs.buildErr)
	}
	return filepath.Join(programs.bin, name)
}

func programDir(t testing.TB) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "spawntest"); programs.err != nil {
			return
		}
		if programs.err = os.Chmod(programs.dir, 0o755); programs.err == nil {
			programs.err = copySelf(programs.dir)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

// buildPrograms builds both programs into dir, unless they are given. Each test
// process builds its own: the build cache makes that a link of a second or so,
// and nobody can replace a program under a running test.
func buildPrograms(dir string) (bin string, err error) {
	if given := os.Getenv("SHELLSPAWN_TEST_BIN"); given != "" {
		return given, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	args, cgo := []string{"build", "-o", dir + "/"}, "CGO_ENABLED=0"
	if Race() {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	build := exec.Command("go", append(args, "./cmd/shellspawn", "./cmd/darling-shell")...)
	build.Dir, build.Env = root, append(os.Environ(), cgo)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, nil
}

// copySelf puts the test binary where any user may run it: go test keeps it in
// a directory that only its owner may enter.
func copySelf(dir string) (err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	out, err := os.OpenFile(filepath.Join(dir, "self"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	_, err = io.Copy(out, self)
	return err
}

// moduleRoot finds the directory of go.mod, upwards from the package under test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", fmt.Errorf("find go.mod: not in any directory above the test")
		}
	}
	return "", err
}

func removePrograms() {
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir) // nothing depends on it any more
	}
}

// Helper returns the path of a helper program, which any user may run. The
// helpers are listed in helpers.go; RegisterHelper adds more.
func Helper(t testing.TB, name string) string {
	t.Helper()
	dir := programDir(t)
	if helpers[name] == nil {
		t.Fatalf("helper %s: not registered", name)
	}
	programs.mu.Lock()
	defer programs.mu.Unlock()
	path := filepath.Join(dir, name)
	if programs.linked[name] {
		return path
	}
	if err := os.Symlink("self", path); err != nil {
		t.Fatal(err)
	}
	if programs.linked == nil {
		programs.linked = make(map[string]bool)
	}
	programs.linked[name] = true
	return path
}

// RegisterHelper adds a helper program under a name. It is called from init, so
// that Main, in the process started as the helper, knows it too. The result of
// run is the helper's exit status.
func RegisterHelper(name string, run func(args []string) int) { helpers[name] = run }

// Script returns the path of a script in testdata/shells.
func Script(t testing.TB, name string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "testdata", "shells", name)
}
