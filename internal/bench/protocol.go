package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
	"shellspawn/spawnsock/dial"
)

// protocol speaks to a daemon directly, over many connections from one thread:
// what it takes is the daemon's time, not that of starting clients.
type protocol struct {
	socket  string
	request []byte
	stdio   []int
	slots   []slot
	polls   []unix.PollFd
}

// slot is one connection.
type slot struct {
	fd     int
	reader *wire.Reader
}

// newProtocol prepares the same request for every start. Without a terminal the
// programs get null for all three streams.
func (b *bench) newProtocol(d *daemon, terminal bool, null int, argv ...string) *protocol {
	start := wire.Start{Argv: argv, Env: b.env, Dir: b.dir, Umask: 0o022}
	p := &protocol{socket: d.socket}
	if terminal {
		start.Terminal = &wire.Terminal{Rows: 24, Cols: 80}
	} else {
		start.Stdio, p.stdio = []byte{0, 1, 2}, []int{null, null, null}
	}
	p.request = wire.AppendStart(nil, wire.Hello{Version: wire.Version}, &start)
	return p
}

// hold makes one start more whose connection and terminal stay open until close.
func (p *protocol) hold() error {
	i := len(p.slots)
	p.slots, p.polls = append(p.slots, slot{}), append(p.polls, unix.PollFd{})
	if err := p.begin(i); err != nil {
		return err
	}
	if err := p.wait(p.polls[i:]); err != nil {
		return err
	}
	_, err := p.advance(i)
	return err
}

// drop ends all but n of the connections that hold has made.
func (p *protocol) drop(n int) {
	for i := n; i < len(p.slots); i++ {
		p.end(i)
	}
	n = min(n, len(p.slots))
	p.slots, p.polls = p.slots[:n], p.polls[:n]
}

// run makes count starts, no more than most of them at a time, and returns once
// the status of each has arrived.
func (p *protocol) run(count, most int) error {
	p.slots = make([]slot, min(count, most))
	p.polls = make([]unix.PollFd, len(p.slots))
	defer p.close()
	begun, ended := 0, 0
	for ; begun < len(p.slots); begun++ {
		if err := p.begin(begun); err != nil {
			return err
		}
	}
	for ended < count {
		if err := p.wait(p.polls); err != nil {
			return err
		}
		for i := range p.slots {
			if p.polls[i].Revents == 0 {
				continue
			}
			over, err := p.advance(i)
			if err != nil {
				return err
			}
			if !over {
				continue
			}
			ended++
			if begun < count {
				if err := p.begin(i); err != nil {
					return err
				}
				begun++
			}
		}
	}
	return nil
}

// wait returns when the daemon has sent something. It does not tell Go's scheduler
// that it blocks: there is nothing else to run, and to look after a thread that waits
// would take time from the daemon that is measured.
func (p *protocol) wait(polls []unix.PollFd) error {
	limit := unix.NsecToTimespec(patience.Nanoseconds())
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&polls[0])), uintptr(len(polls)),
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	switch {
	case errno != 0 && errno != unix.EINTR:
		return os.NewSyscallError("ppoll", errno)
	case errno == 0 && n == 0:
		return fmt.Errorf("no answer from the daemon within %v", patience)
	}
	return nil
}

// begin opens slot i and sends the request.
func (p *protocol) begin(i int) error {
	fd, _, err := dial.Connect(p.socket, patience, false)
	if err != nil {
		return err
	}
	p.slots[i] = slot{fd, wire.NewReader(wire.RecvFD(fd, unix.MSG_DONTWAIT), make([]byte, 512))}
	p.polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	return wire.Send(fd, p.request, p.stdio...)
}

// advance reads what slot i has; over says that its program has ended well.
func (p *protocol) advance(i int) (over bool, err error) {
	s := &p.slots[i]
	for {
		kind, payload, err := s.reader.Message()
		switch {
		case err == unix.EAGAIN:
			return false, nil
		case err != nil:
			return false, err
		case kind == wire.KindStarted:
			// The master that may have come stays open until the end.
		case kind == wire.KindExited:
			e, err := wire.ParseExited(payload)
			if err == nil && e.WaitStatus != 0 {
				err = fmt.Errorf("wait status %d", e.WaitStatus)
			}
			p.end(i)
			return true, err
		case kind == wire.KindError:
			e, _ := wire.ParseError(payload) // an error in any case
			return false, fmt.Errorf("refused: %s", e.Text)
		}
	}
}

func (p *protocol) end(i int) {
	s := &p.slots[i]
	s.reader.Close()
	_ = unix.Close(s.fd) // all has been said
	s.fd, p.polls[i] = -1, unix.PollFd{Fd: -1}
}

func (p *protocol) close() {
	for i, s := range p.slots {
		if s.reader != nil && s.fd >= 0 {
			p.end(i)
		}
	}
}
