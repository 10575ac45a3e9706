package daemon

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

// LogQueue keeps lines of log until its one goroutine has written them, so that
// nobody waits for who reads the log, or does not: a pipe may be full, a terminal
// stopped with Ctrl-S. Lines keep their order. Those for which there is no room are
// lost, and counted in a line that stands in their place.
type LogQueue struct {
	out  io.Writer
	note *slog.Logger // writes to out; used by the goroutine alone
	wake chan struct{}

	mu      sync.Mutex
	waiting []byte // whole lines
	spare   []byte // what waiting was before, for its memory
	lost    int
	writing bool
	flushed chan struct{} // closed when nothing is left to write; nil if nobody waits
}

const (
	// maxWaiting is room for more than a thousand lines.
	maxWaiting = 256 << 10
	// logPiece is how much is written at once: a pipe takes that much, PIPE_BUF of
	// pipe(7), as a whole or not at all, so that lines of several writers do not mix.
	logPiece = 4096
	// FlushTime is enough for a log that somebody reads.
	FlushTime = time.Second
)

// newLogQueue starts the goroutine, which ends with the process.
func newLogQueue(out io.Writer, note *slog.Logger) *LogQueue {
	q := &LogQueue{out: out, note: note, wake: make(chan struct{}, 1)}
	go q.run()
	return q
}

// Write takes one line and does not block.
func (q *LogQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	// After a line that was lost none may go before the one that says so.
	if q.lost > 0 || len(q.waiting) > 0 && len(q.waiting)+len(line) > maxWaiting {
		q.lost++
	} else {
		q.waiting = append(q.waiting, line...)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
	return len(line), nil
}

// Flush waits until all that was logged is written, or for FlushTime. The nil
// LogQueue has nothing to write.
func (q *LogQueue) Flush() {
	if q == nil {
		return
	}
	q.mu.Lock()
	if len(q.waiting) == 0 && !q.writing {
		q.mu.Unlock()
		return
	}
	if q.flushed == nil {
		q.flushed = make(chan struct{})
	}
	flushed := q.flushed
	q.mu.Unlock()
	select {
	case <-flushed:
	case <-time.After(FlushTime):
	}
}

func (q *LogQueue) run() {
	for range q.wake {
		for lines, lost := q.take(); len(lines) > 0; lines, lost = q.take() {
			q.write(lines)
			if lost > 0 {
				q.note.Warn("log", "dropped", lost)
			}
		}
	}
}

// take returns the lines that wait, and how many were lost after them. They are
// good until the next call.
func (q *LogQueue) take() (lines []byte, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, lost = q.waiting, q.lost
	q.waiting, q.spare, q.lost = q.spare[:0], lines, 0
	if q.writing = len(lines) > 0; !q.writing && q.flushed != nil {
		close(q.flushed)
		q.flushed = nil
	}
	return lines, lost
}

// write writes lines as they are, in pieces that end with a line where one is short
// enough. What cannot be written has nowhere to go.
func (q *LogQueue) write(lines []byte) {
	for len(lines) > 0 {
		n := min(len(lines), logPiece)
		if end := bytes.LastIndexByte(lines[:n], '\n'); end >= 0 {
			n = end + 1
		}
		_, _ = q.out.Write(lines[:n])
		lines = lines[n:]
	}
}
