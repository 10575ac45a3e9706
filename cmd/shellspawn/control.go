package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"shellspawn/internal/control"
)

// controlFlags are those of every control command.
type controlFlags struct {
	socket string
	json   bool
	signal string // of kill only
}

func (c *controlFlags) set(name string) *pflag.FlagSet {
	f := newFlags(name)
	f.StringVar(&c.socket, "socket", "", "")
	f.BoolVar(&c.json, "json", false, "")
	if name == "kill" {
		f.StringVarP(&c.signal, "s", "s", "", "")
	}
	return f
}

// ask parses the flags of a control command and has run talk to the daemon. An
// error of check is one of usage.
func ask(name string, args []string, check func(c *controlFlags, words []string) error,
	run func(client *control.Client, c *controlFlags, words []string) error) int {
	var c controlFlags
	f := c.set(name)
	if status, done := parsed(parse(f, args)); done {
		return status
	}
	if err := check(&c, f.Args()); err != nil {
		return usage(fmt.Errorf("%s: %w", name, err))
	}
	client := &control.Client{
		Sockets: controlSockets(c.socket), JSON: c.json,
		Out: os.Stdout, Err: os.Stderr, Watched: isTerminal(2),
	}
	if err := run(client, &c, f.Args()); err != nil {
		return failure(err)
	}
	return statusOK
}

func status(args []string) int {
	return ask("status", args, noWords, func(client *control.Client, _ *controlFlags, _ []string) error {
		return client.Status()
	})
}

func list(args []string) int {
	return ask("list", args, noWords, func(client *control.Client, _ *controlFlags, _ []string) error {
		return client.List()
	})
}

func stop(args []string) int {
	return ask("stop", args, noWords, func(client *control.Client, _ *controlFlags, _ []string) error {
		return client.Stop()
	})
}

func backlog(args []string) int {
	return ask("backlog", args, checkBacklog, func(client *control.Client, _ *controlFlags, words []string) error {
		return client.Backlog(strings.Join(words, ""))
	})
}

func kill(args []string) int {
	return ask("kill", args, checkKill, func(client *control.Client, c *controlFlags, words []string) error {
		return client.Kill(c.signal, words)
	})
}

func noWords(_ *controlFlags, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("unexpected argument %q", words[0])
	}
	return nil
}

func checkBacklog(_ *controlFlags, words []string) error {
	if len(words) > 1 {
		return fmt.Errorf("unexpected argument %q", words[1])
	}
	for _, word := range words {
		if n, err := strconv.ParseInt(word, 10, 32); err != nil || n < 1 {
			return fmt.Errorf("%q is not a number from 1 on", word)
		}
	}
	return nil
}

// checkKill puts the signal's number in the place of its name.
func checkKill(c *controlFlags, words []string) error {
	if len(words) == 0 {
		return errors.New("which shell? 'shellspawn list' shows their ids")
	}
	for _, word := range words {
		if _, err := strconv.ParseUint(word, 10, 32); err != nil {
			return fmt.Errorf("%q is not the id of a shell", word)
		}
	}
	if c.signal == "" {
		return nil
	}
	number, err := signalNumber(c.signal)
	c.signal = strconv.Itoa(number)
	return err
}

// signalNumber takes a name, with or without SIG, or a number.
func signalNumber(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= 64 {
		return n, nil
	}
	name := strings.ToUpper(text)
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG")); n != 0 {
		return int(n), nil
	}
	return 0, fmt.Errorf("-s %s: no such signal", text)
}

// controlSockets are the paths to look for the daemon at, as the client does.
func controlSockets(flag string) []string {
	if flag != "" {
		return []string{flag}
	}
	if path := os.Getenv("SHELLSPAWN_SOCKET"); path != "" {
		return []string{path}
	}
	var paths []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		paths = append(paths, dir+"/shellspawn.sock")
	}
	return append(paths, systemSocket)
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
