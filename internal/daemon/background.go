package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A background daemon is this program once more, in a session of its own, in the
// root directory, with /dev/null on its standard streams and with no other
// descriptor but a pipe to whoever started it. On that pipe it says that its
// socket accepts, or why it does not. Then the pipe is closed, and nothing ties
// the two together.

const (
	readyMessage = "ready"
	// endOfText is between why the daemon did not come up and what to try: no name
	// holds it.
	endOfText = "\x00"
	// readyFD is the number of the pipe: the first one after the standard streams.
	readyFD = 3
)

// ReadyVariable tells the program started in the background that it is one.
const ReadyVariable = "SHELLSPAWN_READY_FD"

// StartBackground starts this program with the arguments args as a background
// daemon, and returns once its socket accepts. Otherwise the error is the
// daemon's own.
func StartBackground(args []string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return os.NewSyscallError("pipe", err)
	}
	defer r.Close()
	cmd := exec.Command(program, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), ReadyVariable+"="+strconv.Itoa(readyFD))
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = closeStrayOnExec()
	if err == nil {
		err = cmd.Start()
	}
	_ = w.Close() // so that the child has the only one, and its end is seen
	if err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	message, err := io.ReadAll(r)
	if err == nil && string(message) == readyMessage {
		return cmd.Process.Release()
	}
	state := cmd.Wait()
	if text, hint, _ := strings.Cut(string(message), endOfText); text != "" {
		return &startFailure{text, hint}
	}
	return fmt.Errorf("start %s: the daemon ended before it was ready: %w", program, state)
}

// startFailure is what a background daemon told of its failure.
type startFailure struct{ text, hint string }

func (e *startFailure) Error() string { return e.text }

// closeStrayOnExec keeps descriptors from the daemon that this process inherited:
// a shell that reads from our standard output to its end would wait for each.
func closeStrayOnExec() error {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Starter is who started this process in the background and waits to hear
// whether it came up. The nil Starter is nobody.
type Starter struct{ pipe *os.File }

// FindStarter takes the value of ReadyVariable.
func FindStarter(value string) *Starter {
	if value != strconv.Itoa(readyFD) {
		return nil
	}
	unix.CloseOnExec(readyFD)
	return &Starter{os.NewFile(readyFD, "ready")}
}

// Ready says that the socket accepts. An error means that nobody waits for it
// any more.
func (s *Starter) Ready() error { return s.say(readyMessage) }

// Failed says why the daemon did not come up, and what to try. If it was ready
// once, nobody listens any more.
func (s *Starter) Failed(cause error) { _ = s.say(cause.Error() + endOfText + Hint(cause)) }

func (s *Starter) say(message string) error {
	if s == nil {
		return nil
	}
	_, err := s.pipe.WriteString(message)
	return errors.Join(err, s.pipe.Close())
}
