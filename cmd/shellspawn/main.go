// Command shellspawn is the daemon that starts shells for whoever may connect to
// its socket, and the commands that control it.
package main

import (
	"fmt"
	"os"
	"strings"
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

// run finds the command; without one it is serve.
func run(args []string) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if len(args) > 0 && name == "serve" {
		switch args[0] {
		case "--version":
			fmt.Println("shellspawn " + version)
			return statusOK
		case "--help", "-h":
			fmt.Print(help)
			return statusOK
		}
	}
	command, ok := commands[name]
	if !ok {
		return usage(fmt.Errorf("unknown command %q", name))
	}
	return command(args)
}

// commands are the words that may follow the program's name.
var commands = map[string]func([]string) int{
	"serve": serve,
}

// usage reports a wrong command line.
func usage(err error) int {
	fmt.Fprintf(os.Stderr, "shellspawn: %v\nshellspawn: hint: 'shellspawn --help' lists commands and flags\n", err)
	return statusUsage
}

// failure reports what could not be done.
func failure(err error) int {
	fmt.Fprintf(os.Stderr, "shellspawn: %v\n", err)
	return statusFailure
}
