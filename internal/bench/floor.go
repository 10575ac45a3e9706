package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed floor/*.c
var floorSources embed.FS

// floor holds the command lines of the programs that everything is compared
// with. What is to be run is appended.
type floor struct {
	pipes, pty, gate, loop []string
	about                  string
}

// floorWord is the first argument that makes this program play the floor.
const floorWord = "play-floor"

// buildFloor compiles the C programs. Without a compiler this program plays
// them itself, which starts later than C would and so flatters the others.
func buildFloor(dir string) (floor, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return goFloor()
	}
	f := floor{about: "C, built with `" + compilerName(cc) + " -O2`"}
	for name, command := range map[string]*[]string{"pipes": &f.pipes, "pty": &f.pty, "gate": &f.gate, "loop": &f.loop} {
		path, err := compile(cc, dir, name)
		if err != nil {
			return f, err
		}
		*command = []string{path}
	}
	return f, nil
}

func goFloor() (floor, error) {
	self, err := os.Executable()
	if err != nil {
		return floor{}, err
	}
	play := func(part string) []string { return []string{self, floorWord, part} }
	return floor{
		pipes: play("pipes"), pty: play("pty"), gate: play("gate"), loop: play("loop"),
		about: "**Go, as there is no C compiler here: it starts later than C, so the ratios are too good**",
	}, nil
}

func compile(cc, dir, name string) (string, error) {
	source := filepath.Join(dir, name+".c")
	text, err := floorSources.ReadFile("floor/" + name + ".c")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(source, text, 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "floor-"+name)
	if out, err := exec.Command(cc, "-O2", "-o", program, source, "-lutil").CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s.c: %w\n%s", name, err, out)
	}
	return program, nil
}

// compilerName is the first line of cc --version, cut to the essential.
func compilerName(cc string) string {
	out, err := exec.Command(cc, "--version").Output()
	if err != nil {
		return "cc"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
