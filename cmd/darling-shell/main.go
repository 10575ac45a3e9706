// Command darling-shell puts a shell that shellspawn starts on the terminal, or
// runs one command and returns its output and exit status.
package main

import (
	"os"
	"syscall"

	"shellspawn/internal/client"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(run(os.Args[1:])) }

// run parses and hands over; a wrong flag is one line and status 2.
func run(args []string) int {
	c, err := parse(args)
	switch {
	case err != nil:
		client.WrongUsage(err)
		return 2
	case c.help:
		say(help)
		return 0
	case c.version:
		say("darling-shell " + version + "\n")
		return 0
	}
	c.options.Environ = syscall.Environ()
	return client.Run(&c.options)
}

// say writes to stdout and leaves it at that: there is nobody to tell.
func say(text string) { _, _ = syscall.Write(1, []byte(text)) }
