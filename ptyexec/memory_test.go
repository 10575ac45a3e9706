package ptyexec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() { helpers["spy"] = spy }

var secret = []byte("only for the daemon")

// spy tries to read the memory of a process at the end of its input, and tells of itself that
// it is an ordinary one.
func spy() {
	_, _ = io.ReadAll(os.Stdin) // it ends, that is all
	pid, _ := strconv.Atoi(os.Args[1])
	at, _ := strconv.ParseUint(os.Args[2], 10, 64)
	var got [16]byte
	local := unix.Iovec{Base: &got[0]}
	local.SetLen(len(got))
	remote := unix.RemoteIovec{Base: uintptr(at), Len: len(got)}
	if n, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0); n > 0 || err != unix.EPERM {
		fmt.Printf("process_vm_readv: %q %v\n", got[:max(n, 0)], err)
	}
	if mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err == nil {
		n, err := mem.ReadAt(got[:], int64(at))
		fmt.Printf("mem: %q %v\n", got[:n], err)
	} else if !errors.Is(err, fs.ErrPermission) {
		fmt.Println(err)
	}
	if err := unix.PtraceSeize(pid); err != unix.EPERM {
		fmt.Println("ptrace:", err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Println("uid", os.Getuid(), "dumpable", dumpable, err)
}

// TestMemoryOfStart: a child that hangs in exec runs as the user and has our memory. The user
// must not see that, nor get a core file of it, whatever fs.suid_dumpable says; with 1 a
// change of uid used to hand it to him.
func TestMemoryOfStart(t *testing.T) { // E3
	needRoot(t)
	who := &ptyexec.Credential{UID: 4321, GID: 4321}
	for _, setting := range []string{"0", "1"} {
		t.Run("suid_dumpable "+setting, func(t *testing.T) {
			setSuidDumpable(t, setting)
			path, release := slowProgram(t)
			// The user has to get there.
			if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
				t.Fatal(err)
			}
			result, pid := startSlowlyAs(t, context.Background(), path, who)
			if uid := statusField(pid, "Uid"); uid != "4321 4321 4321 4321" {
				t.Errorf("the child is %s", uid)
			}
			if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); dumpable != 0 || err != nil {
				t.Errorf("dumpable %d %v", dumpable, err)
			}
			spied(t, pid, who, 0)
			// Another start makes it dumpable for a moment, and the user may have an eye on that.
			spied(t, pid, who, 1)
			release()
			r := <-result
			if r.err != nil {
				t.Fatal(r.err)
			}
			wait(t, r.p)
		})
	}
}

// spied has a user look at our memory through a child, while it is dumpable or not.
func spied(t *testing.T, pid int, who *ptyexec.Credential, dumpable uintptr) {
	t.Helper()
	in, begin := pipe(t)
	r, w := pipe(t)
	s := helper("spy", strconv.Itoa(pid), fmt.Sprint(uintptr(unsafe.Pointer(&secret[0]))))
	s.Credential = who
	s.Stdio = &[3]int{int(in.Fd()), int(w.Fd()), int(w.Fd())}
	p := start(t, s)
	w.Close()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, dumpable, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	begin.Close()
	if got := readAll(t, r); got != "uid 4321 dumpable 1 <nil>\n" {
		t.Errorf("dumpable %d: the user says %q", dumpable, got)
	}
	wait(t, p)
}

// setSuidDumpable changes the setting for the time of the test.
func setSuidDumpable(t *testing.T, setting string) {
	t.Helper()
	const file = "/proc/sys/fs/suid_dumpable"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(before)) == setting {
		return
	}
	if err := os.WriteFile(file, []byte(setting), 0); err != nil {
		t.Skip("needs root that may write to " + file)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Error(err)
		}
	})
}
