package spawntest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Process is what /proc/PID/stat says of a process, see proc_pid_stat(5).
type Process struct {
	PID, Parent, Group, Session int
	Name                        string // of the program, cut at 15 bytes
	State                       byte   // R, S, T, Z and so on
	Foreground                  int    // foreground process group of its terminal, or -1
	Started                     uint64 // with PID, names the process for ever
}

// Inspect reads the state of a process; ok is false if there is none.
func Inspect(pid int) (p Process, ok bool) {
	return inspect(pid, fmt.Sprintf("/proc/%d/stat", pid))
}

func inspect(pid int, path string) (p Process, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p, false
	}
	// The name is in brackets and may itself hold spaces and brackets.
	opening, closing := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[closing+1:]))
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	p = Process{PID: pid, Name: string(text[opening+1 : closing]), State: fields[0][0], Parent: number(1), Group: number(2), Session: number(3), Foreground: number(5)}
	p.Started, _ = strconv.ParseUint(fields[19], 10, 64)
	return p, true
}

// Stopped reports whether every thread of a process is stopped.
func Stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		if p, ok := inspect(pid, path); ok && p.State != 'T' {
			return false
		}
	}
	return len(threads) > 0
}

// Alive reports whether a process exists and is not a zombie.
func Alive(pid int) bool {
	p, ok := Inspect(pid)
	return ok && p.State != 'Z'
}

// Same reports whether p still is the process it was, and not a zombie.
func (p Process) Same() bool {
	now, ok := Inspect(p.PID)
	return ok && now.Started == p.Started && now.State != 'Z'
}

// Children lists the children of a process, zombies included.
func Children(pid int) []Process {
	var found []Process
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		child, _ := strconv.Atoi(filepath.Base(name))
		if p, ok := Inspect(child); ok && p.Parent == pid {
			found = append(found, p)
		}
	}
	return found
}

// Descendants lists the children of a process and theirs, and so on.
func Descendants(pid int) []Process {
	found := Children(pid)
	for i := 0; i < len(found); i++ {
		found = append(found, Children(found[i].PID)...)
	}
	return found
}

// FDs maps the open descriptors of a process to what they refer to.
func FDs(pid int) map[int]string {
	found := make(map[int]string)
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		// A descriptor that was closed since the listing is not open.
		if target, err := os.Readlink(name); err == nil {
			fd, _ := strconv.Atoi(filepath.Base(name))
			found[fd] = target
		}
	}
	return found
}

// Threads counts the threads of a process.
func Threads(pid int) int {
	n, _ := strconv.Atoi(Status(pid, "Threads"))
	return n
}

// ResidentKiB is the resident memory of a process.
func ResidentKiB(pid int) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(Status(pid, "VmRSS"), " kB"))
	return n
}

// Status returns one field of /proc/PID/status, or "" if there is none.
func Status(pid int, field string) string {
	return colonField(fmt.Sprintf("/proc/%d/status", pid), field)
}

// FDFlags returns the flags of an open descriptor of a process, in octal, as
// /proc/PID/fdinfo shows them, or "" if there is none.
func FDFlags(pid, fd int) string {
	return colonField(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd), "flags")
}

func colonField(path, field string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Activity is a fingerprint of all that a process has done so far: it stays
// the same exactly while none of its threads runs.
func Activity(pid int) string {
	var switches []string
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, name := range names {
		switches = append(switches, colonField(name, "voluntary_ctxt_switches")+"/"+colonField(name, "nonvoluntary_ctxt_switches"))
	}
	slices.Sort(switches)
	return strings.Join(switches, " ")
}

// Quiet waits until a process does nothing any more: no thread of it runs or is
// about to, and none has between two looks a little apart.
func Quiet(t testing.TB, pid int) {
	t.Helper()
	last := ""
	Eventually(t, "quiet process", func() bool {
		now := Activity(pid)
		still := now == last && !running(pid)
		last = now
		time.Sleep(50 * time.Millisecond)
		return still
	})
}

// idleFor is how long a process has to do nothing at all to be idle. That nothing
// happens can only be seen by looking for some time.
const idleFor = 2 * time.Second

// Idle waits until no thread of any of these processes has run for idleFor, all at the
// same time: no timer, no poll, no wake-up.
func Idle(t testing.TB, pids ...int) {
	t.Helper()
	activity := func() (all []string) {
		for _, pid := range pids {
			all = append(all, Activity(pid))
		}
		return all
	}
	Eventually(t, "idle process", func() bool {
		before := activity()
		time.Sleep(idleFor)
		return slices.Equal(activity(), before) && !slices.ContainsFunc(pids, running)
	})
}

func running(pid int) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	return slices.ContainsFunc(names, func(name string) bool {
		return strings.HasPrefix(colonField(name, "State"), "R")
	})
}
