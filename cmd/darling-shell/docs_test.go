package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// G4: the help names every flag and no other, with a value where it takes one.
// That manual and completions agree with the help is tested with those of the
// daemon.
func TestDocsHelp(t *testing.T) {
	var real, documented []string
	for _, f := range flags {
		name := "--" + f.long
		if f.short != 0 {
			name = fmt.Sprintf("-%c, %s", f.short, name)
		}
		if f.set != nil {
			name += " VALUE"
		}
		real = append(real, name)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +((?:-\w, )?--[a-z-]+)( [A-Z=]+)?  +\S`).FindAllStringSubmatch(help, -1) {
		name := m[1]
		if m[2] != "" {
			name += " VALUE"
		}
		documented = append(documented, name)
	}
	if !slices.Equal(real, documented) {
		t.Errorf("the flags are\n%q, the help names\n%q", real, documented)
	}
}

// G4: one screen, with examples.
func TestDocsHelpFits(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(help, "\n"), "\n")
	if len(lines) > 60 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("too wide: %q", line)
		}
	}
	if len(examples(help)) < 5 {
		t.Errorf("only these examples: %q", examples(help))
	}
}

// word is one word of a command line.
const word = `(?:'[^']*'|[^ '#|;\n])+`

// examples returns the calls of the client that a text shows, behind a prompt or
// a bar or at the start of an indented line.
func examples(text string) (calls [][]string) {
	shown := regexp.MustCompile(`(?m)(?:^ {2,}|[$] |\| )darling-shell((?: ` + word + `)*)`)
	for _, m := range shown.FindAllStringSubmatch(text, -1) {
		calls = append(calls, regexp.MustCompile(word).FindAllString(m[1], -1))
	}
	return calls
}

// G4: the examples in help, manuals and README are accepted by the program, as far
// as that can be told from the command line alone.
func TestDocsExamples(t *testing.T) {
	all := examples(help)
	for _, path := range []string{"README.md", "dist/man/darling-shell.1", "dist/man/shellspawn.8"} {
		text, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, examples(string(text))...)
	}
	if len(all) < 15 {
		t.Errorf("only %d examples found: %q", len(all), all)
	}
	for _, args := range all {
		if _, err := parse(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}
