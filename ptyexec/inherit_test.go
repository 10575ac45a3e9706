package ptyexec_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() { helpers["inherit"] = startAndShow }

// startAndShow starts programs that print what they have inherited.
func startAndShow() {
	run := func(s ptyexec.Spec) {
		s.Stdio = &[3]int{0, 1, 2}
		p, err := ptyexec.Start(context.Background(), s)
		check(err == nil, "start: %v", err)
		_, _ = p.Wait()
	}
	run(sh("umask; ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"))
	// What is ignored only after the first start counts as well.
	signal.Ignore(unix.SIGUSR2, unix.SIGALRM)
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1)
	run(ptyexec.Spec{Program: "grep", Args: []string{"grep", "^Sig[BI]", "/proc/self/status"}})
}

// TestInherit starts this test binary in surroundings as a daemon may find them,
// and has it start a program that should notice none of that.
func TestInherit(t *testing.T) { // B10, C8
	script := `
		ulimit -Sn 512; umask 027
		echo 500 >/proc/self/oom_score_adj || exit
		trap '' HUP INT QUIT TSTP TTIN TTOU PIPE
		exec ` + testBinary(t)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{helperVar + "=inherit", "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	want := []string{"0027", "512", "hard limit", "0", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"}
	if len(lines) == len(want) {
		want[2] = lines[2] // whatever it is
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return "'" + path + "'"
}

// TestHardLimit: whoever lowers the hard limit later does not make starts fail.
func TestHardLimit(t *testing.T) { // C8
	got, err := exec.Command("/bin/sh", "-c", "ulimit -Sn 300; ulimit -Hn 400; "+helperVar+"=inherit exec "+testBinary(t)).Output()
	if err != nil || !strings.Contains(string(got), "\n300\n400\n") {
		t.Errorf("%v %s", err, got)
	}
}

// TestUmask sets it for the program and leaves ours alone.
func TestUmask(t *testing.T) { // C8
	ours := statusField(os.Getpid(), "Umask")
	for _, mask := range []int{0, 0o22, 0o77, 0o777} {
		s := sh("umask")
		s.Umask = &mask
		if got, _ := output(t, s); got != fmt.Sprintf("%04o\n", mask) {
			t.Errorf("%04o: got %q", mask, got)
		}
	}
	if now := statusField(os.Getpid(), "Umask"); now != ours {
		t.Errorf("ours was %s and is %s", ours, now)
	}
}
