// End-to-end tests: the real client, the real daemon, real terminals and pipes.
// They know the programs only by their command lines.
package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

func TestMain(m *testing.M) { os.Exit(spawntest.Main(m)) }

// start starts a daemon as who and a client of it on a new terminal.
func start(t *testing.T, who spawntest.Who, args ...string) (*spawntest.Daemon, *spawntest.Terminal) {
	t.Helper()
	d := spawntest.StartDaemon(t, spawntest.AsUser(who))
	return d, onTerminal(t, d, args...)
}

// onTerminal starts a client on a new terminal.
func onTerminal(t *testing.T, d *spawntest.Daemon, args ...string) *spawntest.Terminal {
	t.Helper()
	return spawntest.OpenTerminal(t, d.Who).Start(d.Client(args...))
}

// eachMode runs a test with the program on a pty and on the client's own pipes.
// The flag it hands over forces that mode.
func eachMode(t *testing.T, test func(t *testing.T, flag string)) {
	t.Run("pty", func(t *testing.T) { test(t, "-t") })
	t.Run("pipes", func(t *testing.T) { test(t, "-T") })
}

// same compares two long texts and shows where they part.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	excerpt := func(text []byte) []byte { return text[max(0, min(at-20, len(text))):min(at+60, len(text))] }
	t.Errorf("%s: %d bytes, want %d; first difference at %d: %q, want %q", what, len(got), len(want), at, excerpt(got), excerpt(want))
}

// oneLine checks that a message is exactly one line, followed at most by a hint,
// that it starts with the client's name and holds each of the parts.
func oneLine(t *testing.T, message []byte, parts ...string) {
	t.Helper()
	text, hint, hinted := strings.Cut(strings.TrimRight(string(message), "\r\n"), "\n")
	if !strings.HasPrefix(text, "darling-shell: ") || hinted && (!strings.HasPrefix(hint, "darling-shell: hint: ") || strings.Contains(hint, "\n")) {
		t.Errorf("message %q, want one line from darling-shell, and perhaps a hint", message)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("message %q does not name %q", message, part)
		}
	}
}

// unusual gives a terminal settings that nobody would set by default, so that
// giving them back is told from making the terminal sane.
func unusual(term *spawntest.Terminal) unix.Termios {
	settings := term.Settings()
	settings.Iflag ^= unix.IXON | unix.IUTF8 | unix.IXANY
	settings.Oflag ^= unix.TAB3
	settings.Lflag ^= unix.ECHOK
	settings.Cc[unix.VINTR] = 7
	settings.Cc[unix.VERASE] = 8
	settings.Cc[unix.VEOF] = 5
	term.Set(settings)
	return term.Settings()
}

// noticed is what a client on a terminal says when it has to wait for a second,
// as it may on a busy machine.
var noticed = regexp.MustCompile(`darling-shell: [^\r\n]*waiting up to [^\r\n]*\r+\n`)

// printed is what was printed on a terminal, but for that.
func printed(term *spawntest.Terminal) []byte { return noticed.ReplaceAll(term.Output(), nil) }

// numbers is what seq prints on a terminal.
func numbers(t *testing.T, d *spawntest.Daemon, last string) []byte {
	t.Helper()
	out, _, code := d.Collect(d.Command("seq", "1", last), nil)
	if code != 0 {
		t.Fatalf("seq: status %d", code)
	}
	return bytes.ReplaceAll(out, []byte("\n"), []byte("\r\n"))
}

// fullMatch reports whether the whole text matches.
func fullMatch(expr, text string) bool {
	return regexp.MustCompile(`^(?:` + expr + `)$`).MatchString(text)
}

// signalling collects output and says when a word has come.
type signalling struct {
	word string
	text []byte
	came chan struct{}
}

// watchFor gives cmd an output that closes the channel when it holds the word.
func watchFor(cmd *exec.Cmd, word string) <-chan struct{} {
	w := &signalling{word: word, came: make(chan struct{})}
	cmd.Stdout = w
	return w.came
}

func (w *signalling) Write(text []byte) (int, error) {
	before := bytes.Contains(w.text, []byte(w.word))
	w.text = append(w.text, text...)
	if !before && bytes.Contains(w.text, []byte(w.word)) {
		close(w.came)
	}
	return len(text), nil
}

// await waits for a channel to be closed.
func await(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(spawntest.Deadline):
		t.Fatalf("no %s within %v", what, spawntest.Deadline)
	}
}
