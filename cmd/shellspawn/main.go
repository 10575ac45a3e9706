// Command shellspawn is the daemon that starts shells for whoever may connect to
// its socket, and the commands that control it.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"

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
	switch {
	case ok:
		return command(args)
	case name == "help": // what people type first
		return show(help)
	}
	return usage(unknownCommand(name))
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

// parse reads the flags of a command. A value that is given is not empty: one that
// comes from an unset variable must not mean the default.
func parse(f *pflag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return wrongFlag(f, err)
	}
	if asked, _ := f.GetBool("version"); asked {
		return errVersion
	}
	var empty error
	f.Visit(func(flag *pflag.Flag) {
		if flag.Value.Type() == "string" && flag.Value.String() == "" {
			empty = fmt.Errorf("%s: empty value", flagName(flag))
		}
	})
	return empty
}

// wrongFlag puts pflag's errors into the form that all others have.
func wrongFlag(f *pflag.FlagSet, err error) error {
	var invalid *pflag.InvalidValueError
	var lacking *pflag.ValueRequiredError
	var missing *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		what := map[string]string{
			"int": "a number", "duration": "a duration such as 10s", "bool": "true or false",
		}[invalid.GetFlag().Value.Type()]
		return &wrongValue{invalid.GetFlag().Name, invalid.GetValue(), "not " + what}
	case errors.As(err, &lacking):
		return fmt.Errorf("%s: needs a value", flagName(lacking.GetFlag()))
	case errors.As(err, &missing) && missing.GetSpecifiedShortnames() != "":
		return unknownLetter(missing, f)
	case errors.As(err, &missing):
		return unknownFlag(missing.GetSpecifiedName(), f)
	}
	return err
}

// wrongValue is a flag with a value that it cannot have.
type wrongValue struct{ flag, value, cause string }

func (w *wrongValue) Error() string { return "--" + w.text() }
func (w *wrongValue) text() string  { return w.flag + " " + w.value + ": " + w.cause }

// flagName is how a flag is given.
func flagName(f *pflag.Flag) string {
	if f.Name == f.Shorthand {
		return "-" + f.Name
	}
	return "--" + f.Name
}

// parsed ends the command, with a status, where parsing says so: the help or the
// version was asked for, or the command line is wrong.
func parsed(err error) (status int, done bool) {
	var file *mistake
	var system *os.SyscallError
	switch {
	case err == nil:
		return statusOK, false
	case errors.Is(err, pflag.ErrHelp):
		return show(help), true
	case errors.Is(err, errVersion):
		return show("shellspawn " + version + "\n"), true
	case errors.As(err, &file) && file.line == 0, errors.As(err, &system):
		return failure(err), true
	}
	return usage(err), true
}

// show prints what was asked for.
func show(text string) int {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return failure(err)
	}
	return statusOK
}

// usage reports a wrong command line.
func usage(err error) int {
	hint := "'shellspawn --help' lists commands and flags"
	var slip *unknown
	if errors.As(err, &slip) && slip.instead != "" {
		hint = "did you mean " + slip.instead + "? " + hint
	}
	say(err.Error(), hint)
	return statusUsage
}

// say writes one line, and a second one of what to try if there is something. A
// name with control characters in it does not make it more.
func say(text, hint string) {
	fmt.Fprintf(os.Stderr, "shellspawn: %s\n", plain(text))
	if hint != "" {
		fmt.Fprintf(os.Stderr, "shellspawn: hint: %s\n", plain(hint))
	}
}

func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// failure reports what could not be done: one line for each error, and one of
// what to try where that is known.
func failure(err error) int {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		hint := daemon.Hint(err)
		var e *control.Error
		if errors.As(err, &e) {
			hint = e.Hint
		}
		say(err.Error(), hint)
	}
	return statusFailure
}
