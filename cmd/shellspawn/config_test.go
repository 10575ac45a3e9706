package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// flagsFile writes a file of flags.
func flagsFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flags")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each mistake in a file is told with its line, and no flag has a value from it.
func TestConfigMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"max-shells":                            `:1: "max-shells": not of the form name = value`,
		"max-shells 40":                         `:1: "max-shells 40": not of the form name = value`,
		"\n# comment\n\nnonsense = 1":           `:4: unknown name "nonsense"`,
		"--max-shells = 1":                      `:1: unknown name "--max-shells"`,
		"= 1":                                   `:1: unknown name ""`,
		"config = x":                            `:1: unknown name "config"`,
		"version = true":                        `:1: unknown name "version"`,
		"socket =":                              ":1: socket: empty value",
		"max-shells = many":                     ":1: max-shells many: not a number",
		"backlog = 8\nmax-shells = 1 # one":     ":2: max-shells 1 # one: not a number",
		"background = perhaps":                  ":1: background perhaps: not true or false",
		"hangup-grace = 5":                      ":1: hangup-grace 5: not a duration such as 10s",
		"backlog = 5\nbacklog = 6":              ":2: backlog: set in line 1 already",
		"\nbacklog = 0":                         ":2: backlog 0: must be at least 1",
		"socket-mode = 999":                     ":1: socket-mode 999: not an octal mode such as 0660",
		"shell = sh\nlog-level = loud":          ":2: log-level loud: not one of debug, info, warn, error",
		"log-format = xml":                      ":1: log-format xml: not one of text, json",
		"shutdown-grace = 0s":                   ":1: shutdown-grace 0s: must be more than nothing",
		strings.Repeat("x", 1<<20):              `x": not of the form name = value`,
		"\x7fELF\x00 = \x1b[2J":                 `:1: unknown name "\x7fELF\x00"`,
		"allow-user = a\r\nmax-shells = -1\r\n": ":2: max-shells -1: must not be negative",
	} {
		path := flagsFile(t, text)
		_, err := parseServe([]string{"--socket", "/s", "--config", path})
		var m *mistake
		if !errors.As(err, &m) || m.path != path || !strings.HasSuffix(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.40q: %v, want ...%s", text, err, want)
		}
	}
}

// A mistake on the command line is not said to be one of the file.
func TestConfigNotToBlame(t *testing.T) {
	path := flagsFile(t, "backlog = 100\n")
	_, err := parseServe([]string{"--config", path, "--max-shells", "-1"})
	if err == nil || err.Error() != "--max-shells -1: must not be negative" {
		t.Error(err)
	}
}

func TestConfigThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir + "/none": "no such file or directory", dir: "is a directory", dir + "/": "is a directory"} {
		_, err := parseServe([]string{"--config", path})
		if err == nil || err.Error() != "read "+path+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A line stands for the flag, the command line wins, and paths are relative to the
// file's directory, wherever the daemon runs.
func TestConfigValues(t *testing.T) {
	path := flagsFile(t, `
# who
allow-user = ann
  allow-user=bob
allow-group = staff
socket = run/s
pid-file = /run/pid
log-file = log
shell = bash
max-shells=7
	max-shells-per-user = 3
hangup-grace = 2m
log-level = WARN
background = true`)
	o, err := parseServe([]string{"--config", path, "--allow-group", "wheel", "--max-shells", "9"})
	if err != nil {
		t.Fatal(err)
	}
	c, dir := o.config, filepath.Dir(path)
	if got := strings.Join(c.AllowUsers, " ") + "|" + strings.Join(c.AllowGroups, " "); got != "ann bob|wheel" {
		t.Errorf("allowed: %s", got)
	}
	if c.Socket != dir+"/run/s" || c.PIDFile != "/run/pid" || c.LogFile != dir+"/log" || c.Shell != "bash" {
		t.Errorf("paths: %q %q %q %q", c.Socket, c.PIDFile, c.LogFile, c.Shell)
	}
	if c.MaxShells != 9 || c.MaxShellsPerUser != 3 || c.HangupGrace.Minutes() != 2 || c.LogLevel != 4 || !o.background || c.Backlog != 4096 {
		t.Errorf("values: %+v", c)
	}
	for flag, want := range map[string]bool{"allow-user": true, "socket": true, "max-shells": false, "allow-group": false, "backlog": false} {
		if o.file.sets(flag) != want {
			t.Errorf("%s is from the file: %v", flag, !want)
		}
	}
}

// The manual names the flags that count while the daemon runs, and those are all
// but the ones that cannot.
func TestDocsReload(t *testing.T) {
	chapter := section(t, readDoc(t, "dist/man/shellspawn.8"), "the file is read again.", "count from then on")
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\.Cm ([a-z-]+)`).FindAllStringSubmatch(chapter, -1) {
		named[m[1]] = true
	}
	serveFlags(&options{}).VisitAll(func(f *pflag.Flag) {
		changes := !slices.Contains(fixed, f.Name) && !notInFile[f.Name]
		if changes != named[f.Name] {
			t.Errorf("--%s changes while the daemon runs: %v; named: %v", f.Name, changes, named[f.Name])
		}
		delete(named, f.Name)
	})
	if len(named) > 0 {
		t.Errorf("there is no flag %v", slices.Collect(maps.Keys(named)))
	}
}
