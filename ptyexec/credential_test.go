package ptyexec_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() {
	helpers["as user"] = startAsUser
	helpers["user"] = showUser
	helpers["unmapped"] = startUnmapped
}

// TestCredential reads the identity back from the kernel.
func TestCredential(t *testing.T) { // E1
	needRoot(t)
	s := ptyexec.Spec{Program: "/bin/cat", Args: []string{"cat", "/proc/self/status"}}
	s.Credential = &ptyexec.Credential{UID: 4321, GID: 4322, Groups: []uint32{7, 4322, 65000}}
	got, _ := output(t, s)
	for _, want := range []string{"Uid:\t4321\t4321\t4321\t4321\n", "Gid:\t4322\t4322\t4322\t4322\n", "Groups:\t7 4322 65000 \n", "CapEff:\t0000000000000000\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	s.Credential = &ptyexec.Credential{}
	if got, _ = output(t, s); !strings.Contains(got, "Uid:\t0\t0\t0\t0\n") || !strings.Contains(got, "Groups:\t \n") {
		t.Errorf("no groups: %s", got)
	}
	s.Credential.Groups = make([]uint32, 70000)
	checkError(t, s, ptyexec.StartError{Op: "setgroups", Err: unix.EINVAL}, "setgroups: invalid argument")
	s.Credential = &ptyexec.Credential{GID: ^uint32(0) - 1, UID: 1}
	if got, status := output(t, s); status != 0 || !strings.Contains(got, "Gid:\t4294967294\t") {
		t.Errorf("%s %v", got, status)
	}
}

// startAsUser runs with rights that pass through setuid, and with keys of its own, and
// starts a program as a user who must get neither.
func startAsUser() {
	runtime.LockOSThread() // capabilities and keyrings are a thread's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	check(unix.Capget(&header, &caps[0]) == nil, "capget")
	caps[0].Inheritable = 1<<unix.CAP_NET_RAW | 1<<unix.CAP_KILL
	check(unix.Capset(&header, &caps[0]) == nil, "capset")
	_, err := unix.KeyctlJoinSessionKeyring("ptyexec test")
	keyrings := err == nil // some containers forbid them
	ours, _ := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	s := helper("user", strconv.FormatBool(keyrings), strconv.Itoa(ours))
	s.Credential = &ptyexec.Credential{UID: 4321, GID: 4321}
	s.Stdio = &[3]int{0, 1, 2}
	p, err := ptyexec.Start(context.Background(), s)
	check(err == nil, "start: %v", err)
	_, _ = p.Wait()
}

func showUser() {
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		caps := statusField(os.Getpid(), set)
		check(strings.Trim(caps, "0") == "", "%s %s", set, caps)
	}
	if os.Args[1] == "true" {
		id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
		check(err == nil && strconv.Itoa(id) != os.Args[2], "the keyring of the daemon: %d %v", id, err)
	}
	fmt.Println("ok")
}

// TestCredentialLeftovers: inheritable capabilities and the session keyring pass
// through setuid, if nobody takes them away.
func TestCredentialLeftovers(t *testing.T) { // E1, E3
	needRoot(t)
	if got, status := output(t, helper("as user")); got != "ok\n" || status != 0 {
		t.Errorf("got %q, %v", got, status)
	}
}

// startUnmapped runs in a user namespace that knows the groups 0 to 99 and no user
// but 0, so that each of the three calls can fail for itself.
func startUnmapped() {
	for _, c := range []ptyexec.Credential{
		{Groups: []uint32{100}}, {GID: 100}, {GID: 99, UID: 1}, {UID: ^uint32(0)}, {GID: ^uint32(0)},
	} {
		s := sh("id; exit 1")
		s.Credential = &c
		s.Stdio = &[3]int{0, 1, 2}
		p, err := ptyexec.Start(context.Background(), s)
		if err == nil {
			_, _ = p.Wait()
		}
		fmt.Println(err)
	}
}

// TestCredentialSteps lets each of the three calls fail: the program must not run
// with what it has got so far.
func TestCredentialSteps(t *testing.T) { // E1
	needRoot(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{helperVar + "=unmapped"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER,
		UidMappings:                []syscall.SysProcIDMap{{Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{Size: 100}},
		GidMappingsEnableSetgroups: true,
	}
	got, err := cmd.CombinedOutput()
	want := "setgroups: invalid argument\nsetgid: invalid argument\nsetuid: invalid argument\nsetuid: invalid argument\nsetgid: invalid argument\n"
	if string(got) != want || err != nil {
		t.Errorf("%v, got\n%s", err, got)
	}
}

// TestCredentialRefused: a user cannot become another one, and learns at which step.
func TestCredentialRefused(t *testing.T) { // E1
	needUser(t)
	s := sh("exit")
	s.Credential = &ptyexec.Credential{UID: 0, GID: 0}
	checkError(t, s, ptyexec.StartError{Op: "setgroups", Err: unix.EPERM}, "setgroups: operation not permitted")
	s.Terminal = &ptyexec.Terminal{}
	checkError(t, s, ptyexec.StartError{Op: "open pty", Err: unix.EPERM}, "open pty: operation not permitted")
}
