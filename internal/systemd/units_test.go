package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// installedProgram is the path in the shipped units, which installation
// replaces.
const installedProgram = "/usr/local/bin/shellspawn"

// unitFiles returns the shipped unit files of one folder below dist/systemd.
func unitFiles(t *testing.T, folder string) []string {
	t.Helper()
	var units []string
	for _, kind := range []string{"*.socket", "*.service"} {
		found, err := filepath.Glob(filepath.Join("../../dist/systemd", folder, kind))
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, found...)
	}
	if len(units) < 2 {
		t.Fatalf("dist/systemd/%s holds only %v", folder, units)
	}
	return units
}

// G1: systemd has nothing to say about the shipped units. It insists on a
// program that exists, so it gets copies that name this test.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("NOT TESTED: needs systemd-analyze, which is not installed")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ folder, option string }{
		"system": {"", "--system"},
		"user":   {"user", "--user"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"verify", tc.option, "--man=no"}
			for _, unit := range unitFiles(t, tc.folder) {
				text, err := os.ReadFile(unit)
				if err != nil {
					t.Fatal(err)
				}
				copied := filepath.Join(dir, filepath.Base(unit))
				args = append(args, copied)
				text = []byte(strings.ReplaceAll(string(text), installedProgram, exe))
				if err := os.WriteFile(copied, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, analyze, args...)
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
			out, err := cmd.CombinedOutput()
			// A misspelt setting is only reported, with status 0. Other units of this
			// machine may be reported too, and are not ours to judge.
			if err != nil || strings.Contains(string(out), "shellspawn") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// E10: no unit has a setting that would confine the shells, and each says why.
func TestUnitsConfineNobody(t *testing.T) {
	confining := regexp.MustCompile(`(?m)^(Protect|Private|Restrict|SystemCall|NoNewPrivileges|Capability|AmbientCap|` +
		`Read(Only|Write)|Inaccessible|NoExec|ExecPaths|TemporaryFileSystem|RootDirectory|RootImage|LockPersonality|` +
		`MemoryDenyWriteExecute|DynamicUser|User=|DevicePolicy|DeviceAllow|IPAddress|SecureBits|RemoveIPC|UMask|` +
		`Limit(NPROC|CPU|AS|FSIZE)|Memory(Max|High)|CPUQuota|ProcSubset)`)
	for _, folder := range []string{"", "user"} {
		for _, unit := range unitFiles(t, folder) {
			text, err := os.ReadFile(unit)
			if err != nil {
				t.Fatal(err)
			}
			if found := confining.FindString(string(text)); found != "" {
				t.Errorf("%s sets %s…, which every shell would inherit", unit, found)
			}
			if strings.HasSuffix(unit, ".service") && !strings.Contains(string(text), "# No sandboxing, on purpose") {
				t.Errorf("%s does not say why it has no sandboxing", unit)
			}
		}
	}
}

// Each setting that somebody may wonder about has its reason above it.
func TestUnitSettingsAreExplained(t *testing.T) {
	plain := regexp.MustCompile(`^(Description|Documentation|Requires|WantedBy|Also|ExecStart|ExecReload|After|ListenStream|Accept)=`)
	for _, folder := range []string{"", "user"} {
		for _, unit := range unitFiles(t, folder) {
			text, err := os.ReadFile(unit)
			if err != nil {
				t.Fatal(err)
			}
			explained := false
			for line := range strings.Lines(string(text)) {
				switch line = strings.TrimSpace(line); {
				case line == "" || line[0] == '[':
					explained = false
				case line[0] == '#':
					explained = true
				case !explained && !plain.MatchString(line):
					t.Errorf("%s: no comment above %s", unit, line)
				}
			}
		}
	}
}
