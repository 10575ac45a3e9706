package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWatchdogInterval(t *testing.T) {
	for _, tc := range []struct {
		name, usec, pid string
		want            time.Duration
		fails           bool
	}{
		{"none", "", "", 0, false},
		{"ours", "30000000", "77", 30 * time.Second, false},
		{"anybody's", "1", "", time.Microsecond, false},
		{"another process", "30000000", "78", 0, false},
		{"another process, malformed", "x", "78", 0, false},
		{"no number", "30s", "77", 0, true},
		{"zero", "0", "77", 0, true},
		{"negative", "-1", "77", 0, true},
		{"beyond a duration", "9223372036854775807", "77", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := map[string]string{"WATCHDOG_USEC": tc.usec, "WATCHDOG_PID": tc.pid}
			e := edge{getenv: func(name string) string { return env[name] }, getpid: func() int { return 77 }}
			got, err := e.watchdogInterval()
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("got %v, %v; want %v, failure %v", got, err, tc.want, tc.fails)
			}
		})
	}
}

// Standard error is the journal only if it still is what systemd announced.
func TestJournalStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, value string
		want        bool
	}{
		{"announced", fmt.Sprintf("%d:%d", st.Dev, st.Ino), true},
		{"another inode", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), false},
		{"another device", fmt.Sprintf("%d:%d", st.Dev+1, st.Ino), false},
		{"malformed", "x", false},
		{"empty", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := helper(t, "journal", nil, "JOURNAL_STREAM="+tc.value)
			cmd.Stderr = f
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(out)); got != fmt.Sprint(tc.want) {
				t.Errorf("got %s, want %v", got, tc.want)
			}
		})
	}
	if (edge{getenv: os.Getenv}).journalStream(-1) {
		t.Error("a closed descriptor counts as the journal")
	}
}
