package doctor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What one shell takes: of the daemon's descriptors its connection, its pidfd and
// its terminal; of the machine itself and a program that it runs.
const (
	descriptorsPerShell = 3
	descriptorsAside    = 100 // for everything else, and for connections under way
	processesPerShell   = 2
)

// unlimited stands for a limit that is none.
const unlimited = int64(1) << 62

// enough judges whether have will do for the shells that are wanted, each of
// which takes each.
func (p *patient) enough(check string, have int64, each int, of, advice string) Finding {
	shells := max(have, 0) / int64(each)
	text := fmt.Sprintf("%s: %d, enough for %d shells", of, have, shells)
	if have >= unlimited {
		return fine(check, "%s: no limit", of)
	}
	if shells < int64(p.shells) {
		return warn(check, text+fmt.Sprintf(", not for %d", p.shells), advice)
	}
	return fine(check, "%s", text)
}

// descriptors looks at RLIMIT_NOFILE, of which the daemon uses the hard limit.
func (p *patient) descriptors() Finding {
	const check = "descriptors"
	limit, err := processLimit(p.pid, "Max open files")
	if p.limits != nil {
		limit, err = p.limits.Descriptors, nil
	}
	if err != nil {
		return fail(check, err.Error(), "")
	}
	return p.enough(check, limit-descriptorsAside, descriptorsPerShell, "left for shells of "+p.whose(),
		"raise LimitNOFILE of the unit, or 'ulimit -Hn'")
}

// processLimit reads a hard limit of a process from its limits file, proc(5).
func processLimit(pid int, name string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/limits", pid)
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), name)
		if fields := strings.Fields(rest); found && len(fields) >= 2 {
			return number(fields[1])
		}
	}
	return 0, fmt.Errorf("read %s: no line %q", path, name)
}

// number takes the words that the kernel has for no limit as well.
func number(text string) (int64, error) {
	text = strings.TrimSpace(text)
	if text == "unlimited" || text == "max" {
		return unlimited, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return number(string(text))
}

// processes looks at what the whole machine can run.
func (p *patient) processes() Finding {
	const check = "processes"
	least, from := unlimited, ""
	for _, name := range []string{"kernel/pid_max", "kernel/threads-max"} {
		n, err := readNumber("/proc/sys/" + name)
		if err != nil {
			return fail(check, err.Error(), "mount /proc")
		}
		if n < least {
			least, from = n, strings.ReplaceAll(name, "/", ".")
		}
	}
	return p.enough(check, least, processesPerShell, from, fmt.Sprintf("'sysctl -w %s=%d'", from, processesPerShell*p.shells*2))
}

// controlGroup looks at the limits on processes along the path of the daemon's
// control group, where the least one counts.
func (p *patient) controlGroup() Finding {
	const check = "control group"
	mount, group, err := pidsGroup(p.pid)
	if err != nil {
		return warn(check, err.Error(), "")
	}
	least, from := unlimited, mount
	for dir := filepath.Join(mount, group); ; dir = filepath.Dir(dir) {
		if n, err := readNumber(filepath.Join(dir, "pids.max")); err == nil && n < least {
			least, from = n, dir
		}
		if dir == mount || len(dir) < len(mount) {
			break
		}
	}
	return p.enough(check, least, processesPerShell, "pids.max of "+from, "raise TasksMax of the unit")
}

// pidsGroup finds the control group of a process that limits processes, cgroups(7):
// in the one hierarchy of version 2, or in that of the pids controller.
func pidsGroup(pid int) (mount, group string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		if f[1] == "" && mount == "" {
			mount, group = "/sys/fs/cgroup", f[2]
		}
		if f[1] == "pids" {
			mount, group = "/sys/fs/cgroup/pids", f[2]
		}
	}
	if mount == "" {
		return "", "", fmt.Errorf("/proc/%d/cgroup: names no control group that limits processes", pid)
	}
	return mount, group, nil
}
