package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock/dial"
)

// daemon is a shellspawn with a socket and a log of its own.
type daemon struct {
	socket  string
	process *process
}

// startDaemon returns once the daemon accepts. It logs into a file, as a
// daemon does.
func (b *bench) startDaemon(name string) (*daemon, error) {
	log, err := os.Create(b.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	d := &daemon{socket: b.path(name + ".sock")}
	argv := []string{b.server, "serve", "--socket", d.socket, "--shell", "/bin/bash"}
	d.process, err = b.start(argv, [3]int{int(null.Fd()), int(log.Fd()), int(log.Fd())}, false, time.Hour)
	if err != nil {
		return nil, err
	}
	fd, _, err := dial.Connect(d.socket, patience, true)
	if err != nil {
		d.process.kill()
		return nil, fmt.Errorf("daemon: %w", err)
	}
	_ = unix.Close(fd) // it was opened for nothing else
	return d, nil
}

// stop ends the daemon and its shells.
func (d *daemon) stop() {
	_ = unix.Kill(d.process.pid, unix.SIGTERM) // it may have ended
	kill := time.AfterFunc(patience, func() { _ = unix.Kill(d.process.pid, unix.SIGKILL) })
	_ = d.process.wait() // how it ends is for the tests
	kill.Stop()
}
