package spawntest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keeper is a process that outlives the tests by a moment. A test process that
// is killed, or panics at its time limit, runs no cleanup; the keeper notices
// the end of its input and stops the daemons that are left, which in turn end
// their shells; then it removes the directory of the programs, in which all else
// is, sockets and logs too.
var keeper struct {
	once  sync.Once
	err   error
	input *os.File
}

func init() { RegisterHelper("spawntest-keeper", keeperMain) }

// keep tells the keeper of a process.
func keep(t testing.TB, pid int) {
	t.Helper()
	path := Helper(t, "spawntest-keeper")
	keeper.once.Do(func() { keeper.err = startKeeper(path) })
	if keeper.err != nil {
		t.Fatal(keeper.err)
	}
	if p, ok := Inspect(pid); ok {
		// One write, so that lines of parallel tests do not mix.
		_, _ = fmt.Fprintf(keeper.input, "%d %d\n", pid, p.Started) // without a keeper only an abort leaves something
	}
}

// startKeeper starts it in a session of its own, where no Ctrl-C reaches it.
func startKeeper(path string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(path, filepath.Dir(path))
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	keeper.input = w // open until this process ends, however it ends
	return cmd.Process.Release()
}

func keeperMain(args []string) int {
	var kept []Process
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var p Process
		if _, err := fmt.Sscan(lines.Text(), &p.PID, &p.Started); err == nil {
			kept = append(kept, p)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		signalAll(kept, sig)
	}
	if !Within(20*time.Second, func() bool { return signalAll(kept, 0) == 0 }) {
		signalAll(kept, syscall.SIGKILL)
	}
	if err := os.RemoveAll(args[0]); err != nil {
		return fail(err)
	}
	return 0
}

// signalAll signals the processes that still are who they were, and counts them.
func signalAll(kept []Process, sig syscall.Signal) (n int) {
	for _, p := range kept {
		if p.Same() {
			_ = syscall.Kill(p.PID, sig) // it may end at this moment
			n++
		}
	}
	return n
}
