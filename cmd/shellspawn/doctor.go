package main

import (
	"errors"
	"fmt"
	"os"

	"shellspawn/internal/doctor"
)

// errUnwell says that a finding has been printed that has to be put right.
var errUnwell = errors.New("doctor: not everything is in order")

// examine is the command doctor.
func examine(args []string) int {
	var c controlFlags
	f := c.set("doctor")
	if status, done := parsed(parse(f, args)); done {
		return status
	}
	if err := noWords(&c, f.Args()); err != nil {
		return usage(fmt.Errorf("doctor: %w", err))
	}
	findings := doctor.Examine(doctor.Options{Sockets: controlSockets(c.socket), Version: version})
	write := doctor.WriteText
	if c.json {
		write = doctor.WriteJSON
	}
	err := write(os.Stdout, findings)
	if err == nil && doctor.Failed(findings) {
		err = errUnwell
	}
	if err != nil {
		return failure(err)
	}
	return statusOK
}
