package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// A file of flags has one on each line, by its long name: "max-shells = 40". Lines
// that are empty or begin with # mean nothing. The command line wins.

// mistake is something wrong with a file of flags, in a line of it, or with the
// file as a whole if line is 0.
type mistake struct {
	path  string
	line  int
	cause string
}

func (m *mistake) Error() string {
	if m.line == 0 {
		return "read " + m.path + ": " + m.cause
	}
	return fmt.Sprintf("read %s:%d: %s", m.path, m.line, m.cause)
}

// configFile is where a file of flags was read and what stood there.
type configFile struct {
	path  string
	lines map[string]int // where each flag was set that the command line has not
}

// sets says whether a flag has its value from the file.
func (c *configFile) sets(flag string) bool { return c.lines[flag] > 0 }

// read sets the flags that stand in the file and were not given.
func (c *configFile) read(f *pflag.FlagSet) error {
	text, err := os.ReadFile(c.path)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return &mistake{path: c.path, cause: err.Error()}
	}
	c.lines = make(map[string]int)
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := c.set(f, line, number); err != nil {
			return c.at(number, err)
		}
	}
	return nil
}

// notInFile are flags that say what is to be done now.
var notInFile = map[string]bool{"config": true, "help": true, "version": true}

// set takes one line.
func (c *configFile) set(f *pflag.FlagSet, line string, number int) error {
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return fmt.Errorf("%.60q: not of the form name = value", line)
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	flag := f.Lookup(name)
	switch {
	case flag == nil || notInFile[name]:
		return fmt.Errorf("unknown name %.60q", name)
	case value == "":
		return errors.New(name + ": empty value")
	case c.sets(name) && flag.Value.Type() != "stringArray":
		return fmt.Errorf("%s: set in line %d already", name, c.lines[name])
	}
	if isPath(flag, value) && !filepath.IsAbs(value) {
		value = filepath.Join(filepath.Dir(c.path), value)
	}
	if flag.Changed && !c.sets(name) {
		return nil // the command line has it
	}
	c.lines[name] = number
	return wrongFlag(f, f.Set(name, value))
}

// at says where the mistake is. In the file a flag's name has no dashes.
func (c *configFile) at(line int, err error) error {
	var wrong *wrongValue
	if errors.As(err, &wrong) {
		return &mistake{c.path, line, wrong.text()}
	}
	return &mistake{c.path, line, err.Error()}
}

// locate says of a wrong value from the file where it stands.
func (c *configFile) locate(err error) error {
	var wrong *wrongValue
	if errors.As(err, &wrong) && c.sets(wrong.flag) {
		return c.at(c.lines[wrong.flag], err)
	}
	return err
}

// isPath says whether the value of a flag is the path of a file. A shell's name
// without a slash is looked for on the PATH.
func isPath(flag *pflag.Flag, value string) bool {
	switch flag.Name {
	case "socket", "pid-file", "log-file":
		return true
	case "shell":
		return strings.Contains(value, "/")
	}
	return false
}
