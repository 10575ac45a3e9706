// Package client is the thin client: it asks a daemon for a shell or a program,
// puts it on the caller's terminal or on the caller's own descriptors, relays
// signals and window sizes, and returns the exit status.
//
// It is short-lived and starts once for every command, so it links neither net
// nor fmt, and does each system call itself.
package client

import (
	"strings"
	"time"
)

// Choice is a setting that is on, off, or left to the situation.
type Choice int

// The choices.
const (
	Auto Choice = iota
	Always
	Never
)

// Options is one call of the client. Its zero value with Environ and
// ConnectTimeout set opens an interactive login shell.
type Options struct {
	// Args is the program and its arguments; none means an interactive shell.
	Args []string
	// Command is a string for the shell's -c; HasCommand tells an empty one
	// from none.
	Command    string
	HasCommand bool
	Login      bool
	Shell      string
	Terminal   Choice
	Dir        string
	SetEnv     []string
	// PreserveEnv sends the variables that are otherwise set for the target
	// user; CleanEnv sends only those that describe the terminal.
	PreserveEnv bool
	CleanEnv    bool
	User        string

	Socket         string
	ConnectTimeout time.Duration
	Wait           bool
	Legacy         bool
	Verbose        bool

	// Environ is the caller's environment.
	Environ []string
}

// getenv looks name up in the caller's environment; the last one counts.
func (o *Options) getenv(name string) string {
	value := ""
	for _, v := range o.Environ {
		if n, rest, ok := strings.Cut(v, "="); ok && n == name {
			value = rest
		}
	}
	return value
}
