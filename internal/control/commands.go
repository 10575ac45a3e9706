package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// query asks and decodes the answer into v, or prints it as it is, and says
// which.
func (c *Client) query(v any, command string, args ...string) (shown bool, err error) {
	body, err := c.Ask(command, args...)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return false, fmt.Errorf("%s: %w", command, err)
	}
	if !c.JSON {
		return false, nil
	}
	return true, c.print(body)
}

func (c *Client) print(body []byte) error {
	_, err := fmt.Fprintf(c.Out, "%s\n", body)
	return err
}

// Status prints how the daemon is doing.
func (c *Client) Status() error {
	var s wire.Status
	if shown, err := c.query(&s, "status"); shown || err != nil {
		return err
	}
	return writeStatus(c.Out, &s)
}

// List prints one row for each shell that is the caller's business.
func (c *Client) List() error {
	var rows []wire.Row
	if shown, err := c.query(&rows, "list"); shown || err != nil {
		return err
	}
	return writeList(c.Out, rows)
}

// Backlog prints the length of the accept queue, after it was set to n if that is
// not empty.
func (c *Client) Backlog(n string) error {
	var args []string
	if n != "" {
		args = []string{n}
	}
	var b wire.Backlog
	if shown, err := c.query(&b, "backlog", args...); shown || err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.Out, "%s\n", backlogText(b))
	if hint := clampAdvice(b); err == nil && hint != "" {
		_, err = fmt.Fprintf(c.Out, "%s\n", hint)
	}
	return err
}

// Kill hangs up the shells with these ids, or sends them the signal of that
// number if it is not empty. The error joins one *Error for each shell for which
// that was not possible.
func (c *Client) Kill(signal string, ids []string) error {
	var results []wire.Killed
	if _, err := c.query(&results, "kill", append([]string{signal}, ids...)...); err != nil {
		return err
	}
	var failed []error
	for _, k := range results {
		if k.Error != "" {
			failed = append(failed, &Error{Text: fmt.Sprintf("kill %d: %s", k.ID, printable(k.Error))})
		}
	}
	return errors.Join(failed...)
}

// watchAfter is how long a stop may take before somebody who watches is told
// what it waits for.
const watchAfter = time.Second

// Stop stops the daemon and returns once it is gone. How long that takes at most
// is up to the daemon's grace.
func (c *Client) Stop() error {
	conn, err := c.open("stop", nil)
	if err != nil {
		return err
	}
	defer conn.close()
	first, err := conn.next()
	if err != nil {
		return conn.lost(err)
	}
	var s wire.Stopping
	if err := json.Unmarshal(first, &s); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	first = append([]byte(nil), first...)
	process := conn.process(s.PID)
	if process >= 0 {
		defer unix.Close(process)
	}
	if err := c.watchStop(conn, s); err != nil {
		return err
	}
	awaitExit(process)
	if c.JSON {
		return c.print(first)
	}
	return nil
}

// watchStop reads until the daemon is gone.
func (c *Client) watchStop(conn *connection, s wire.Stopping) error {
	began, shown := time.Now(), -1
	if err := conn.limit(watchAfter); err != nil {
		return conn.lost(err)
	}
	for {
		if late := time.Since(began) >= watchAfter; late && c.Watched && s.Waiting > 0 && s.Waiting != shown {
			shown = s.Waiting
			fmt.Fprintf(c.Err, "shellspawn: waiting for %s\n", count(uint64(s.Waiting), "shell"))
		}
		body, err := conn.next()
		switch {
		case err == unix.EAGAIN:
			continue // nothing new
		case err == io.EOF, err == unix.ECONNRESET:
			return nil
		case err != nil:
			return conn.lost(err)
		}
		if err := json.Unmarshal(body, &s); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
}

// process opens the daemon's process, or returns -1 where that cannot be done
// for certain: only if the kernel gives it the number that it gives itself do both
// of us live in the same pid namespace.
func (c *connection) process(pid int) int {
	cred, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(cred.Pid) != pid {
		return -1
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1
	}
	return fd
}

// awaitExit waits until the process that has closed the connection is through
// with the rest of its end, which is a matter of microseconds.
func awaitExit(process int) {
	if process < 0 {
		return
	}
	end := time.Now().Add(time.Second)
	for {
		fds := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, int(max(time.Until(end), 0)/time.Millisecond))
		if err != unix.EINTR {
			return
		}
	}
}
