package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"shellspawn/internal/wire"
)

// logText keeps what is logged.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// What a terminal obeys: line ends, escape sequences of seven bits and of eight, DEL, the
// signs that turn the direction of text, a line separator; and bytes that are no text.
const hostile = "\n\r\t\x00\x1b[31m\x7f\u009b31m\u0085\u202e\u2028\xff"

// E9: whatever a client sends as a name, each event is one line of plain text, which says
// what argv[0] was and neither arguments nor environment.
func TestLogOfHostileNames(t *testing.T) {
	name := strings.ReplaceAll(hostile, "\x00", "") // which no name can hold
	environment := []string{"SECRET=in-the-environment", name + "=in-the-environment"}
	start := func(s wire.Start) []byte {
		s.Env, s.Stdio = environment, []byte{0, 1, 2}
		return opening(&s)
	}
	control := func(command string, args ...string) []byte {
		return wire.AppendControl(nil, wire.Hello{Version: wire.Version}, wire.Control{Command: command, Args: args})
	}
	requests := [][]byte{
		start(wire.Start{Argv: []string{"/nonexistent/PROGRAM" + name, "in-the-arguments"}}),
		start(wire.Start{Argv: []string{"PATHLESS" + name, "in-the-arguments"}}),
		start(wire.Start{Shell: true, ShellPath: "/nonexistent/SHELL" + name, Argv: []string{"in-the-arguments"}}),
		start(wire.Start{Argv: []string{"true", "in-the-arguments"}, Dir: "/DIRECTORY" + name, DirRequired: true}),
		start(wire.Start{Argv: []string{"true", "in-the-arguments"}, User: "USER" + name}),
		start(wire.Start{Argv: []string{"sh", "-c", "exit 0 # in-the-arguments"}}),
		// A field that nobody knows, by the name of a sequence that turns text red.
		bytes.Replace(start(wire.Start{Argv: []string{"true"}, Login: true}), []byte("login"), []byte("\x1b[31m"), 1),
		control("COMMAND"+name, "in-the-arguments"),
		control("backlog", "NUMBER"+name),
		control("kill", "SIGNAL"+name, "1"),
	}
	for _, format := range []string{"text", "json"} {
		for _, journal := range []bool{false, true} {
			s, log, null := newSubject(t), &logText{}, devNull(t)
			s.logTo(directLog(log, slog.LevelDebug, format, journal))
			for _, request := range requests {
				c := s.connect(t)
				fds := []int{null, null, null}
				if strings.Contains(string(request), "command") {
					fds = nil
				}
				if _, err := c.ask(t, wire.KindStarted, request, fds...); err == nil {
					c.exits(t)
				}
				c.wait(t)
				c.close()
			}
			s.daemon.log.Info("event", "text", hostile, "error", refuse("", hostile, ""))
			judgeLog(t, log.String())
			for _, word := range []string{"PROGRAM", "PATHLESS", "SHELL", "DIRECTORY", "USER", "COMMAND", "program", "not known to this version"} {
				if !strings.Contains(log.String(), word) {
					t.Errorf("%s, journal %v: no %s in\n%s", format, journal, word, log)
				}
			}
		}
	}
}

func judgeLog(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not plain text: %q", line)
		}
		if !strings.Contains(line, "msg") {
			t.Errorf("not an event: %q", line)
		}
	}
	for _, secret := range []string{"in-the-environment", "in-the-arguments"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in\n%s", secret, text)
		}
	}
}
