package daemon

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// A log that nobody reads holds nobody up. What has no place is lost and counted, in
// every form of the log; what is there is in order, and nothing is missing after it.
func TestLogNobodyReads(t *testing.T) {
	for _, c := range []struct {
		format  string
		journal bool
		dropped string
	}{
		{"text", false, `level=WARN msg=log dropped=(\d+)$`},
		{"text", true, `^<4>level=WARN msg=log dropped=(\d+)$`},
		{"json", false, `"level":"WARN","msg":"log","dropped":(\d+)}$`},
	} {
		t.Run(fmt.Sprint(c.format, c.journal), func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			const lines = 20_000
			log, queue := NewLog(w, slog.LevelInfo, c.format, c.journal)
			returned := make(chan struct{})
			go func() {
				defer close(returned)
				for i := range lines {
					log.Info("event", "n", i)
				}
				queue.Flush() // in vain
			}()
			select {
			case <-returned:
			case <-time.After(spawntest.Deadline):
				t.Fatal("who logs waits")
			}
			readLog(t, r, log, lines, regexp.MustCompile(c.dropped))
		})
	}
}

// readLog accounts for each line, as read or as one of those lost in its place, of which
// there may be several runs; then it logs one more, which has to come.
func readLog(t *testing.T, r *os.File, log *slog.Logger, lines int, dropped *regexp.Regexp) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(spawntest.Deadline)) // a pipe takes one
	number := regexp.MustCompile(`"?n"?[=:](\d+)`)
	next, lost := 0, 0
	for scanner := bufio.NewScanner(r); next <= lines && scanner.Scan(); {
		if m := dropped.FindStringSubmatch(scanner.Text()); m != nil {
			n, _ := strconv.Atoi(m[1]) // it is a number
			next, lost = next+n, lost+n
		} else if m := number.FindStringSubmatch(scanner.Text()); m != nil && m[1] == strconv.Itoa(next) {
			next++
		} else {
			t.Fatalf("in place of event %d: %q", next, scanner.Text())
		}
		if next == lines {
			log.Info("event", "n", lines)
		}
	}
	if lost == 0 || next != lines+1 || next-lost < 1000 {
		t.Errorf("%d of %d lines accounted for, %d of them lost", next, lines, lost)
	}
}

// Flush leaves nothing unwritten where somebody reads.
func TestLogFlush(t *testing.T) {
	text := &logText{}
	log, queue := NewLog(text, slog.LevelInfo, "text", false)
	for i := range 500 {
		log.Info("event", "n", i)
		if i%7 == 0 {
			queue.Flush()
			if want := fmt.Sprintf("msg=event n=%d\n", i); !regexp.MustCompile(want + "$").MatchString(text.String()) {
				t.Fatalf("not the last line: %s", want)
			}
		}
	}
}

// Lines need no memory of their own on their way through the queue.
func TestLogQueueAllocations(t *testing.T) {
	queue := newLogQueue(&discard{}, slog.New(slog.DiscardHandler))
	line := []byte("level=INFO msg=event n=1\n")
	for range 1000 {
		_, _ = queue.Write(line) // it never fails
		queue.Flush()
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = queue.Write(line) }); n >= 1 {
		t.Errorf("%v allocations for a line", n)
	}
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

// A log file can be replaced while a write to it hangs, and what was not written goes
// into the new one.
func TestLogFileThatHangs(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	pipe := fullPipe(t, dir+"/pipe")
	file, err := OpenLogFile(pipe, false)
	if err != nil {
		t.Fatal(err)
	}
	log, queue := NewLog(file, slog.LevelInfo, "text", false)
	log.Info("event")
	opened := make(chan error, 1)
	go func() { opened <- file.Open(dir + "/log") }()
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(spawntest.Deadline):
		t.Fatal("the new file waits for the old one")
	}
	queue.Flush()
	if text, _ := os.ReadFile(dir + "/log"); !regexp.MustCompile("msg=event\n$").Match(text) {
		t.Errorf("the new file: %q", text)
	}
}

// fullPipe makes a named pipe that takes nothing more, for the time of the test.
func fullPipe(t *testing.T, path string) string {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // what is in it is of no use
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	return path
}
