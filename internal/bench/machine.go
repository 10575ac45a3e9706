package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// describeMachine is one line on what the figures were taken on, with the load
// at the start, which says how far to trust them.
func describeMachine() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // cannot fail
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info) // cannot fail
	memory := float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	return fmt.Sprintf("Machine: %s, %d CPUs, %.0f GiB, Linux %s, %s; load at the start %s.",
		cpuModel(), runtime.NumCPU(), memory, unix.ByteSliceToString(uts.Release[:]),
		runtime.Version(), firstField("/proc/loadavg"))
}

// cpuModel is the processor's name; arm64 has none in cpuinfo.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // without it there is no name
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(model), " ")
		}
	}
	return runtime.GOARCH
}

func firstField(path string) string {
	text, _ := os.ReadFile(path) // without it the field is empty
	field, _, _ := strings.Cut(string(text), " ")
	return field
}
