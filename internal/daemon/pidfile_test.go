package daemon

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
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
