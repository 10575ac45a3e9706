package main

import (
	"slices"
	"strings"
	"time"
)

// subject is one program of the kind that is measured.
type subject struct {
	name string
	// The functions return the command line that runs a program that way; nil
	// if the subject cannot. A server that has to be started for it is theirs.
	pipes, pty, login command
	// many says that the subject takes part in bursts.
	many bool
	// noStream says that pipes do not reach the program.
	noStream bool
}

// command turns the command line of a program into the one to start.
type command func(argv ...string) ([]string, error)

const (
	floorName = "floor"
	oursName  = "darling-shell"
	bareName  = "bare pty, no proxy" // what nobody can beat
)

// prefixed is a command that only puts words in front.
func prefixed(words ...string) command {
	return func(argv ...string) ([]string, error) { return slices.Concat(words, argv), nil }
}

// asLogin has a login shell read its profile and then become the program, which
// is what ours does with -l.
func asLogin(of command) command {
	return func(argv ...string) ([]string, error) {
		return of(append([]string{"/bin/bash", "-l", "-c", `exec "$0" "$@"`}, argv...)...)
	}
}

func (b *bench) floorSubject() subject {
	return subject{
		name: floorName, many: true,
		pipes: prefixed(b.floor.pipes...), pty: prefixed(b.floor.pty...), login: asLogin(prefixed(b.floor.pipes...)),
	}
}

// ours is the product at the daemon d.
func (b *bench) ours(d *daemon) subject {
	return subject{
		name: oursName, many: true,
		pipes: prefixed(b.client, "-S", d.socket, "--"),
		pty:   prefixed(b.client, "-S", d.socket, "--"),
		login: prefixed(b.client, "-S", d.socket, "-E", "-l", "--"),
	}
}

// subjects are all of them, the floor first.
func (b *bench) subjects() []subject {
	return append([]subject{b.floorSubject(), b.ours(b.daemon)}, b.peers...)
}

// budget is the time that a subject may take of one measure.
func (b *bench) budget(s subject) time.Duration {
	if s.name == floorName || s.name == oursName {
		return 0
	}
	return b.sizes.peerBudget
}

// quote makes one shell command of argv.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
