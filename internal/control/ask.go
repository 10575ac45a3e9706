// Package control asks a running daemon about itself, gives it orders, and shows
// the answers to people or machines.
//
// What may be asked and who may order what is the daemon's affair; see package
// wire for the answers.
package control

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/hint"
	"shellspawn/internal/wire"
	"shellspawn/spawnsock/dial"
)

// patience bounds the wait for a place in the accept queue and, after that, for
// each piece of an answer.
const patience = 10 * time.Second

// Client is one use of a control command.
type Client struct {
	// Sockets are paths to try: the next one only if at one there is no socket
	// or nobody listens.
	Sockets []string
	// JSON prints answers as they came.
	JSON bool
	// Out gets answers. Err gets, if Watched, what a long command waits for.
	Out, Err io.Writer
	Watched  bool
}

// Error is an answer in one line, with a second one of what to try, or "".
type Error struct {
	Text string
	Hint string
	err  error
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.err }

// connection is one question under way.
type connection struct {
	fd     int
	path   string
	reader *wire.Reader
}

// Ask sends one question and returns the whole answer, as JSON. It blocks for as
// long as the daemon keeps it waiting, within twice 10 s.
func (c *Client) Ask(command string, args ...string) ([]byte, error) {
	conn, err := c.open(command, args)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	var answer []byte
	for {
		piece, err := conn.next()
		if err == io.EOF && len(answer) > 0 {
			return answer, nil
		}
		if err != nil {
			return nil, conn.lost(err)
		}
		answer = append(answer, piece...)
	}
}

// open connects and sends the question. The caller closes the connection.
func (c *Client) open(command string, args []string) (*connection, error) {
	conn, waited, err := c.connect()
	if err != nil {
		return nil, err
	}
	hello := wire.Hello{Version: wire.Version, WaitedMillis: uint32(waited.Milliseconds())}
	question := wire.AppendControl(nil, hello, wire.Control{Command: command, Args: args})
	// A daemon that refuses may close before it has read everything; its answer
	// says more than the error here.
	if err := wire.Send(conn.fd, question); err != nil && err != unix.EPIPE && err != unix.ECONNRESET {
		conn.close()
		return nil, conn.lost(err)
	}
	return conn, nil
}

func (c *Client) connect() (*connection, time.Duration, error) {
	end := time.Now().Add(patience)
	for i, path := range c.Sockets {
		fd, waited, err := dial.Connect(path, time.Until(end), false)
		if err == nil {
			conn := &connection{fd, path, wire.NewReader(wire.RecvFD(fd, 0), nil)}
			if err := conn.limit(patience); err != nil {
				conn.close()
				return nil, 0, conn.lost(err)
			}
			return conn, waited, nil
		}
		if i == len(c.Sockets)-1 || !hint.Absent(err) {
			return nil, 0, connectError(c.Sockets[:i+1], err)
		}
	}
	return nil, 0, &Error{Text: "connect: no socket path", Hint: "name one with --socket or in SHELLSPAWN_SOCKET"}
}

// connectError says what to do about a socket that cannot be reached. Tried are the
// paths up to that of the error.
func connectError(tried []string, err error) *Error {
	e := &Error{Text: err.Error(), Hint: hint.Unreachable(tried, err), err: err}
	if errors.Is(err, dial.ErrQueueFull) {
		e.Text += ", waited " + patience.String()
	}
	return e
}

// limit bounds each wait for the daemon; 0 is no limit.
func (c *connection) limit(d time.Duration) error {
	tv := unix.NsecToTimeval(d.Nanoseconds())
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
}

// next returns the next piece of the answer, valid until the call after it, and
// io.EOF after the last one.
func (c *connection) next() ([]byte, error) {
	kind, payload, err := c.reader.Message()
	if err != nil {
		return nil, err
	}
	switch kind {
	case wire.KindReply:
		return payload, nil
	case wire.KindError:
		e, err := wire.ParseError(payload)
		if err != nil {
			return nil, err
		}
		return nil, &Error{Text: e.Text, Hint: e.Hint}
	}
	return nil, wire.ErrProtocol
}

// lost puts the end of a connection that came too early into words.
func (c *connection) lost(err error) error {
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return err
	case err == unix.EAGAIN:
		return &Error{Text: fmt.Sprintf("connect %s: connected but no answer within %s", c.path, patience),
			Hint: "the daemon may hang; see its log", err: err}
	case err == io.EOF, err == unix.ECONNRESET:
		return &Error{Text: "connect " + c.path + ": closed without an answer",
			Hint: "the daemon was stopping, or speaks only the old dialect, which has no control commands", err: err}
	}
	return &Error{Text: "connect " + c.path + ": " + err.Error(), err: err}
}

func (c *connection) close() {
	c.reader.Close() // descriptors that no answer should carry
	_ = unix.Close(c.fd)
}
