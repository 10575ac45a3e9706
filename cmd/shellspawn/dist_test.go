package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// distFiles returns the shipped files that match the pattern.
func distFiles(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../dist", pattern))
	if err != nil || len(files) < 2 {
		t.Fatalf("dist/%s: found %v, %v; want one file for each program", pattern, files, err)
	}
	return files
}

// outputOf runs a program that is on this machine and returns what it prints.
// One that is not there is said to be missing.
func outputOf(t *testing.T, dir string, env []string, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("NOT TESTED: needs %s, which is not installed", program)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v: %s", program, args, err, out)
	}
	return string(out)
}

func TestManPagesLint(t *testing.T) {
	for _, page := range distFiles(t, "man/*.[18]") {
		t.Run(filepath.Base(page), func(t *testing.T) {
			// From its own folder, where mandoc finds the other page.
			if out := outputOf(t, filepath.Dir(page), nil, "mandoc", "-T", "lint", filepath.Base(page)); out != "" {
				t.Error(out)
			}
		})
	}
}

func TestCompletionSyntax(t *testing.T) {
	for shell, pattern := range map[string]string{"bash": "*.bash", "zsh": "_*", "fish": "*.fish"} {
		for _, file := range distFiles(t, "completions/"+pattern) {
			t.Run(filepath.Base(file), func(t *testing.T) {
				if out := outputOf(t, "", nil, shell, "-n", file); out != "" {
					t.Error(out)
				}
			})
		}
	}
}

// completeBash and completeFish print what the shell would offer for the last of
// the words that follow, one proposal a line.
const (
	completeBash = `
source $DIST/completions/shellspawn.bash
source $DIST/completions/darling-shell.bash
compopt() { :; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
if [[ $1 == shellspawn ]]; then _shellspawn; else _darling_shell; fi
[[ ${#COMPREPLY[@]} == 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
`
	completeFish = `
source $DIST/completions/shellspawn.fish
source $DIST/completions/darling-shell.fish
set line (string join -- ' ' $argv)
complete -C"$line" | string replace -r '\t.*' ''
true
`
)

// rows is what "shellspawn list --json" prints, one row compact and one not.
const rows = `[{"id":17,"user":"ann","uid":1000,"pid":4711,"tty":"/dev/pts/3","program":"/bin/bash","client_pid":4710},
{
  "id": 18, "user": "bob", "uid": 1001, "pid": 4713, "tty": "",
  "program": "/usr/bin/make", "client_pid": 4712
}]`

func TestCompletion(t *testing.T) {
	bin := t.TempDir()
	list := "#!/bin/sh\n[ \"$*\" != 'list --socket /down --json' ] || { echo no daemon >&2; exit 1; }\ncat <<'END'\n" + rows + "\nEND\n"
	if err := os.WriteFile(filepath.Join(bin, "shellspawn"), []byte(list), 0o755); err != nil {
		t.Fatal(err)
	}
	dist, err := filepath.Abs("../../dist")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"DIST=" + dist, "PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + bin, "XDG_CONFIG_HOME=" + bin, "LC_ALL=C"}
	for _, tc := range []struct {
		name string
		line []string
		want []string
	}{
		{"commands", []string{"shellspawn", "s"}, []string{"serve", "status", "stop"}},
		{"flags of serve", []string{"shellspawn", "--max"}, []string{"--max-shells", "--max-shells-per-user"}},
		{"flags of a control command", []string{"shellspawn", "list", "--j"}, []string{"--json"}},
		{"no serve flags there", []string{"shellspawn", "list", "--max"}, nil},
		{"shell ids", []string{"shellspawn", "kill", "1"}, []string{"17", "18"}},
		{"shell ids without a daemon", []string{"shellspawn", "kill", "--socket", "/down", "1"}, nil},
		{"signals", []string{"shellspawn", "kill", "-s", "US"}, []string{"USR1", "USR2"}},
		{"log levels", []string{"shellspawn", "serve", "--log-level", "d"}, []string{"debug"}},
		{"client flags", []string{"darling-shell", "--c"}, []string{"--chdir", "--clean-env", "--command", "--connect-timeout"}},
		{"users", []string{"darling-shell", "-u", "roo"}, []string{"root"}},
		{"flags end at the command", []string{"darling-shell", "cat", "-u", "roo"}, nil},
		{"flags end at --", []string{"darling-shell", "-t", "--", "--connect-t"}, nil},
		{"value of a flag is no command", []string{"darling-shell", "-tC", "/", "--wa"}, []string{"--wait"}},
	} {
		for shell, script := range map[string][]string{
			"bash": append([]string{"-c", completeBash, "bash"}, tc.line...),
			"fish": append([]string{"-c", completeFish}, tc.line...),
		} {
			t.Run(tc.name+" in "+shell, func(t *testing.T) {
				got := strings.Fields(outputOf(t, bin, env, shell, script...)) // where no files are offered
				slices.Sort(got)
				if !slices.Equal(got, tc.want) {
					t.Errorf("%q: got %q, want %q", tc.line, got, tc.want)
				}
			})
		}
	}
}
