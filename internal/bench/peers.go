package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// findPeers sets up whichever peers are installed. One that cannot be set up is
// said to be missing and why.
func (b *bench) findPeers() {
	for _, peer := range []struct {
		name  string
		setUp func(path string) ([]subject, error)
	}{
		{"script", b.script}, {"socat", b.socat}, {"dtach", b.dtach}, {"tmux", b.tmux}, {"ssh", b.ssh},
	} {
		path := find(peer.name)
		if path == "" {
			continue
		}
		subjects, err := peer.setUp(path)
		if err != nil {
			fmt.Printf("%s takes no part: %v\n\n", peer.name, err)
			continue
		}
		b.peers = append(b.peers, subjects...)
	}
}

// script is a proxy without a server.
func (b *bench) script(path string) ([]subject, error) {
	pty := func(argv ...string) ([]string, error) {
		return []string{path, "-q", "-e", "-c", "exec " + quote(argv), "/dev/null"}, nil
	}
	return []subject{{name: "script", pty: pty, many: true}}, nil
}

// dtach starts a server of its own for each session. It does not pass on the
// exit status.
func (b *bench) dtach(path string) ([]subject, error) {
	var count atomic.Int64
	pty := func(argv ...string) ([]string, error) {
		socket := b.path(fmt.Sprintf("dtach.%d", count.Add(1)))
		return append([]string{path, "-c", socket, "-E", "-z", "-r", "none"}, argv...), nil
	}
	return []subject{{name: "dtach", pty: pty, many: true}}, nil
}

// tmux has one server, which a session that lasts keeps up. Without a terminal it
// runs a program and shows its output at the end, which is no stream.
func (b *bench) tmux(path string) ([]subject, error) {
	config := b.path("tmux.conf")
	text := "set -g status off\nset -s escape-time 0\nset -g default-shell /bin/sh\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	tmux := []string{path, "-S", b.path("tmux.sock"), "-f", config}
	b.atEnd(func() { _ = b.runQuietly(append(tmux, "kill-server")) }) // without a server there is nothing to kill
	if err := b.runQuietly(append(tmux, "new-session", "-d", "sleep 3600")); err != nil {
		return nil, err
	}
	pipes := func(argv ...string) ([]string, error) {
		return append(tmux[:len(tmux):len(tmux)], "run-shell", "exec "+quote(argv)), nil
	}
	pty := func(argv ...string) ([]string, error) {
		return append(tmux[:len(tmux):len(tmux)], "new-session", "exec "+quote(argv)), nil
	}
	return []subject{{name: "tmux", pipes: pipes, pty: pty, many: true, noStream: true}}, nil
}

// socat forks per connection, as the first Unix servers did. A server knows one
// program, so each program gets a server. With -t0 it does not wait for half a
// second when only one direction has ended.
func (b *bench) socat(path string) ([]subject, error) {
	servers := make(map[string]string) // the socket, by what runs there
	client := func(local, options string) command {
		return func(argv ...string) ([]string, error) {
			key := options + "\x00" + strings.Join(argv, "\x00")
			socket := servers[key]
			if socket == "" {
				var err error
				if socket, err = b.socatServer(path, len(servers), argv, options); err != nil {
					return nil, err
				}
				servers[key] = socket
			}
			return []string{path, "-t0", local, "UNIX-CONNECT:" + socket}, nil
		}
	}
	return []subject{{
		name: "socat", many: true,
		pipes: client("-", ""), pty: client("-,raw,echo=0", ",pty,setsid,ctty,stderr"),
	}}, nil
}

func (b *bench) socatServer(path string, number int, argv []string, options string) (socket string, err error) {
	socket = b.path(fmt.Sprintf("socat.%d", number))
	program := argv[0]
	if len(argv) > 1 { // its own quoting is best avoided
		program = socket + ".sh"
		text := "#!/bin/sh\nexec " + quote(argv) + "\n"
		if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
			return "", err
		}
	}
	return socket, b.startServer([]string{path, "UNIX-LISTEN:" + socket + ",fork,backlog=4096", "EXEC:" + program + options}, socket)
}

// startServer starts a server in the foreground and waits for its socket.
func (b *bench) startServer(argv []string, socket string) error {
	p, err := b.startSilent(argv, time.Hour)
	if err != nil {
		return err
	}
	b.atEnd(p.kill)
	return eventually("socket of "+argv[0], func() bool { return unix.Access(socket, unix.F_OK) == nil })
}

// startSilent starts argv on /dev/null.
func (b *bench) startSilent(argv []string, limit time.Duration) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fd := int(null.Fd())
	return b.start(argv, [3]int{fd, fd, fd}, false, limit)
}

func (b *bench) runQuietly(argv []string) error {
	p, err := b.startSilent(argv, patience)
	if err != nil {
		return err
	}
	return p.wait()
}

// eventually waits until done says true.
func eventually(what string, done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not there after %v", what, patience)
		}
	}
	return nil
}
