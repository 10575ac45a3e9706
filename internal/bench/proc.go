package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is what a process costs while it does nothing.
type usage struct {
	pss      float64 // KiB, smaps_rollup: shared pages count in part
	fds      int
	threads  int
	switches int // context switches so far, of all threads
}

func usageOf(pid int) (u usage, err error) {
	if u.pss, err = pssOf(pid); err != nil {
		return u, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	u.fds = len(fds)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)) // the pattern is right
	u.threads = len(tasks)
	for _, task := range tasks {
		u.switches += switchesOf(task)
	}
	return u, nil
}

func pssOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("smaps_rollup of %d has no Pss", pid)
}

// switchesOf counts voluntary and other context switches of one thread.
func switchesOf(task string) (n int) {
	text, _ := os.ReadFile(task + "/status") // a thread that has ended has none
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.HasSuffix(name, "ctxt_switches") {
			count, _ := strconv.Atoi(strings.TrimSpace(value))
			n += count
		}
	}
	return n
}

// childrenOf lists the children of a process, zombies too. The kernel keeps
// them by the thread that started them.
func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread that has ended has none
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// processState is R, S, Z and so on, or 0 if there is no such process.
func processState(pid int) byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name is in brackets and may itself hold brackets and spaces.
	rest := text[bytes.LastIndexByte(text, ')')+1:]
	if len(rest) < 2 {
		return 0
	}
	return rest[1]
}
