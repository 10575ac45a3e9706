package spawntest_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"shellspawn/internal/spawntest"
)

// TestMain of the process that TestKeeper starts runs this one test alone.
const abandonEnv = "SPAWNTEST_ABANDON"

// A test process that is killed leaves no daemon and no shell behind.
func TestKeeper(t *testing.T) {
	if os.Getenv(abandonEnv) != "" {
		abandon(t)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKeeper$")
	cmd.Env = append(os.Environ(), abandonEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var daemon, shell int
	if _, err := fmt.Fscanf(out, "%d %d\n", &daemon, &shell); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill() // it waits for that
	_ = cmd.Wait()
	spawntest.Eventually(t, "end of the daemon and the shell", func() bool {
		return !spawntest.Alive(daemon) && !spawntest.Alive(shell)
	})
}

// abandon starts a daemon and a shell, names them, and waits to be killed.
func abandon(t *testing.T) {
	d := spawntest.StartDaemon(t)
	if err := d.Client("sleep", "1000").Start(); err != nil {
		t.Fatal(err)
	}
	spawntest.Eventually(t, "shell", func() bool { return len(d.Children()) == 1 })
	fmt.Printf("%d %d\n", d.PID, d.Children()[0].PID)
	select {}
}
