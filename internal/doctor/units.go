package doctor

import (
	"os"
	"path/filepath"
	"strings"
)

// unitDirs are where systemd looks for units of the system, systemd.unit(5), and
// for those of users.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
	"/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user",
}

// units looks for our socket units, and whether the programs that they start are
// there.
func (p *patient) units() Finding {
	const check = "units"
	var found []string
	for _, dir := range unitDirs {
		if _, err := os.Stat(filepath.Join(dir, "shellspawn.socket")); err == nil {
			found = append(found, dir)
		}
	}
	if len(found) == 0 {
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return fine(check, "none installed; systemd does not run here")
		}
		return warn(check, "none installed", "'make install' puts them in place, if systemd is to start the daemon")
	}
	for _, dir := range found {
		service := filepath.Join(dir, "shellspawn.service")
		program, err := execStart(service)
		if err != nil {
			return fail(check, err.Error(), "install the units anew")
		}
		if _, err := os.Stat(program); err != nil {
			return fail(check, service+" starts "+program+", which is not there", "install the program there, or the units anew")
		}
	}
	return fine(check, "in %s", strings.Join(found, ", "))
}

// execStart returns the program that a service starts, or "/" if it names none.
func execStart(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "ExecStart="); ok {
			if f := strings.Fields(strings.TrimLeft(command, "-@:+!")); len(f) > 0 {
				return f[0], nil
			}
		}
	}
	return "/", nil
}
