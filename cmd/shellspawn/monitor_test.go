package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// E3: that the runtime's monitor thread wakes up less often is the daemon's affair, and
// nothing of it reaches the programs.
func TestMonitorThread(t *testing.T) {
	spawntest.NeedRoot(t)
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	usual := strconv.Itoa(slack)
	d := spawntest.StartDaemon(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if out, errs, code := d.Run(nil, "cat", "/proc/self/timerslack_ns"); strings.TrimSpace(string(out)) != usual || code != 0 {
				t.Errorf("a program has a slack of %q ns, want %s; status %d, %s", out, usual, code, errs)
			}
		})
	}
	group.Wait()
	caps, _ := strconv.ParseUint(spawntest.Status(d.PID, "CapEff"), 16, 64)
	if caps&(1<<unix.CAP_SYS_NICE) == 0 {
		return // the daemon may not set it, and nobody here may look
	}
	relaxed := 0
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", d.PID)) // the pattern is right
	for _, task := range tasks {
		if slack := strings.TrimSpace(read(t, filepath.Join("/proc", filepath.Base(task), "timerslack_ns"))); slack != usual {
			relaxed++
		}
	}
	if relaxed == 0 {
		t.Error("no thread has another slack")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
