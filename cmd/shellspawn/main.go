// Command shellspawn is the daemon that starts shells for whoever may connect to
// its socket, and the commands that control it.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"shellspawn/internal/control"
	"shellspawn/internal/daemon"
)

// version is set by the linker.
var version = "devel"

// exit statuses
const (
	statusOK      = 0
	statusFailure = 1
	statusUsage   = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// commands are the words that may follow the program's name.
var commands = map[string]func([]string) int{
	"serve":   serve,
	"status":  status,
	"list":    list,
	"kill":    kill,
	"backlog": backlog,
	"stop":    stop,
	"doctor":  examine,
}

// run finds the command; without one it is serve.
func run(args []string) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	command, ok := commands[name]
	if !ok {
		return usage(fmt.Errorf("unknown command %q", name))
	}
	return command(args)
}

// newFlags returns the flags of a command with those that every command has.
func newFlags(name string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SetInterspersed(name != "serve")
	f.Usage = func() {} // parsed prints the page
	f.Bool("version", false, "")
	return f
}

// errVersion says that the version was asked for.
var errVersion = errors.New("version")

// parse reads the flags of a command.
func parse(f *pflag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if asked, _ := f.GetBool("version"); asked {
		return errVersion
	}
	return nil
}

// parsed ends the command, with a status, where parsing says so: the help or the
// version was asked for, or the command line is wrong.
func parsed(err error) (status int, done bool) {
	switch {
	case err == nil:
		return statusOK, false
	case errors.Is(err, pflag.ErrHelp):
		fmt.Print(help)
		return statusOK, true
	case errors.Is(err, errVersion):
		fmt.Println("shellspawn " + version)
		return statusOK, true
	}
	return usage(err), true
}

// usage reports a wrong command line.
func usage(err error) int {
	fmt.Fprintf(os.Stderr, "shellspawn: %v\nshellspawn: hint: 'shellspawn --help' lists commands and flags\n", err)
	return statusUsage
}

// failure reports what could not be done: one line for each error, and one of
// what to try where that is known.
func failure(err error) int {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		fmt.Fprintf(os.Stderr, "shellspawn: %v\n", err)
		hint := daemon.Hint(err)
		var e *control.Error
		if errors.As(err, &e) {
			hint = e.Hint
		}
		if hint != "" {
			fmt.Fprintf(os.Stderr, "shellspawn: hint: %s\n", hint)
		}
	}
	return statusFailure
}
