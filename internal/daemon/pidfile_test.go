package daemon

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A pid file that was left behind is replaced; anything else is somebody's.
func TestPIDFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	mine := strconv.Itoa(os.Getpid()) + "\n"
	for text, want := range map[string]string{"": mine, "4711\n": mine, "4711": mine, "root:x:0:0\n": "root:x:0:0\n", "47 11": "47 11"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := writePIDFile(path)
		if got, _ := os.ReadFile(path); string(got) != want || (err == nil) != (want == mine) {
			t.Errorf("%q becomes %q, %v, want %q", text, got, err, want)
		}
	}
	link := filepath.Join(filepath.Dir(path), "link")
	if err := os.Symlink("pid", link); err != nil {
		t.Fatal(err)
	}
	if err := writePIDFile(link); err == nil {
		t.Error("a symbolic link was replaced")
	}
}

// What somebody has put in the way of the file, in a directory where others may write, is
// not written through, and holds nobody up.
func TestPIDFileInTheWay(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "pid"), filepath.Join(dir, "victim")
	aside := path + "." + strconv.Itoa(os.Getpid())
	for name, put := range map[string]func() error{
		"link": func() error { return os.Symlink(victim, aside) },
		"file": func() error { return os.WriteFile(aside, []byte("x"), 0o600) },
		"pipe": func() error { return unix.Mkfifo(aside, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := put(); err != nil {
				t.Fatal(err)
			}
			if err := writePIDFile(path); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
				t.Errorf("the pid file: %q, %v", text, err)
			}
			if text, _ := os.ReadFile(victim); string(text) != "precious" {
				t.Errorf("somebody's file is %q now", text)
			}
			if _, err := os.Lstat(aside); err == nil {
				t.Error("a file is left beside it")
			}
		})
	}
}
