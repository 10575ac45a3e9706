package ptyexec_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestWithoutClone3 runs the tests of starting again as they would run in a container, whose filter
// denies clone3(2). Nothing started there.
func TestWithoutClone3(t *testing.T) {
	const others = "^Test(ExitStatus|Inherit|Stdio|Terminal|Search|Dir|Credential|CredentialSteps|CredentialRefused|" +
		"Hang|HangCancelled|HangHoldsNothing|HangSignals|Cancelled|ReapOrphans|MaskRestored|SignalRace)$"
	args := []string{"-test.v", "-test.timeout", "5m", "-test.run", others}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), denyVar+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestHangSignals") {
		t.Errorf("%v\n%s", err, out[max(0, len(out)-5000):])
	}
}

// TestHangSignals looks at a child between clone and the end of exec: there it takes
// signals already, and must have no handler any more, as that would run on our stacks.
func TestHangSignals(t *testing.T) { // B10
	path, release := slowProgram(t)
	result, pid := startSlowly(t, context.Background(), path)
	for _, set := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if got, err := strconv.ParseUint(statusField(pid, set), 16, 64); got != 0 || err != nil {
			t.Errorf("%s %x %v", set, got, err)
		}
	}
	if caught := statusField(os.Getpid(), "SigCgt"); strings.Trim(caught, "0") == "" {
		t.Error("this process itself catches nothing")
	}
	release()
	r := <-result
	if r.err != nil {
		t.Fatal(r.err)
	}
	if status := wait(t, r.p); status != 0 {
		t.Error(status)
	}
}
