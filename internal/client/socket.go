package client

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/hint"
	"shellspawn/spawnsock/dial"
)

// candidate is a socket path and why it is one.
type candidate struct{ path, why string }

const whyPrefix = "DPREFIX"

// candidates lists the sockets to try, and whether the path implies the old
// dialect. A client that is not root tries its user's socket, then the
// system's.
func (o *Options) candidates() (list []candidate, legacy bool) {
	if o.Socket != "" {
		return []candidate{{o.Socket, "--socket"}}, false
	}
	if path := o.getenv("SHELLSPAWN_SOCKET"); path != "" {
		return []candidate{{path, "SHELLSPAWN_SOCKET"}}, false
	}
	if prefix := o.getenv("DPREFIX"); prefix != "" {
		return []candidate{{prefix + "/var/run/shellspawn.sock", whyPrefix}}, true
	}
	system := candidate{hint.SystemSocket, "the system's socket"}
	if dir := o.getenv("XDG_RUNTIME_DIR"); dir != "" && unix.Geteuid() != 0 {
		list = append(list, candidate{dir + "/shellspawn.sock", "the user's socket"})
	}
	return append(list, system), false
}

const (
	// maxPause is the longest pause between two looks for a daemon that is not
	// there yet.
	maxPause = 100 * time.Millisecond
	// noticeAfter is how long somebody who watches is left without a word.
	noticeAfter = time.Second
)

// search is one attempt to find a daemon and to be connected to it.
type search struct {
	options *Options
	report  *reporter
	list    []candidate
	began   time.Time
	waited  time.Duration
	again   bool // not the first round
}

// connect tries the candidates in turn; only a socket that is not there or has
// no listener makes it try the next one. With --wait it begins again until there
// is one.
func connect(o *Options, list []candidate, r *reporter) (connection, *failure) {
	s := &search{options: o, report: r, list: list, began: time.Now()}
	for pause := time.Millisecond; ; pause = min(2*pause, maxPause) {
		conn, tried, err := s.round()
		if err == nil {
			return conn, nil
		}
		if !o.Wait || !hint.Absent(err) || s.left() <= 0 {
			return connection{}, s.failure(tried, err)
		}
		s.notice(tried[len(tried)-1])
		s.again = true
		time.Sleep(min(pause, s.left()))
	}
}

func (s *search) left() time.Duration {
	return s.options.ConnectTimeout - time.Since(s.began)
}

// round tries each candidate once. With an error, which is about the last of
// them, it returns the paths that were tried.
func (s *search) round() (conn connection, tried []string, err error) {
	for _, c := range s.list {
		if err != nil && !s.again {
			s.report.explain(err.Error(), "; trying the next socket")
		}
		fd, dialErr := s.dial(c.path)
		if dialErr == nil {
			s.report.explain("socket ", c.path, " (", c.why, "): connected ", s.duration())
			conn, err = newConnection(fd, c.path, s.options.ConnectTimeout)
			conn.waited = s.waited
			return conn, nil, err
		}
		tried, err = append(tried, c.path), dialErr
		if !hint.Absent(err) {
			break
		}
	}
	return conn, tried, err
}

// failure says why there is no connection, and what to do about it.
func (s *search) failure(tried []string, err error) *failure {
	f := fail(err.Error()).withHint(hint.Unreachable(tried, err))
	patient := ", waited " + s.options.ConnectTimeout.String()
	if s.list[0].why == whyPrefix && hint.Absent(err) {
		f.hint = "the Darling container at DPREFIX does not run; start it"
	}
	switch {
	case errors.Is(err, dial.ErrQueueFull), hint.Absent(err) && s.options.Wait:
		f.text += patient
	case hint.Absent(err) && f.hint != "":
		f.hint += ", or use --wait"
	}
	return f
}

// dial waits for a place in the accept queue for as long as there is time.
func (s *search) dial(path string) (fd int, err error) {
	for {
		fd, waited, err := dial.Connect(path, min(s.left(), noticeAfter), false)
		s.waited += waited
		if !errors.Is(err, dial.ErrQueueFull) || s.left() <= 0 {
			return fd, err
		}
		s.notice(path)
	}
}

// notice is for a search that takes long.
func (s *search) notice(path string) {
	if time.Since(s.began) >= noticeAfter {
		s.report.notice("waiting up to ", s.options.ConnectTimeout.String(), " for the daemon at ", path)
	}
}

// duration is how long the connection took and what of it was the accept queue.
func (s *search) duration() string {
	all := time.Since(s.began)
	switch {
	case s.waited > 0:
		return "after " + milliseconds(all) + ", " + milliseconds(s.waited) + " of them in the accept queue"
	case all >= time.Millisecond:
		return "after " + milliseconds(all)
	}
	return "at once"
}
