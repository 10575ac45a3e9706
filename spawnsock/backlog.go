//go:build linux

package spawnsock

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const somaxconnFile = "/proc/sys/net/core/somaxconn"

// Somaxconn reports net.core.somaxconn, the longest accept queue that the
// kernel grants in this process's network namespace. The administrator may
// change it at any time; listening sockets keep what they were given until
// their backlog is set again.
func Somaxconn() (int, error) {
	text, err := os.ReadFile(somaxconnFile)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", somaxconnFile, err)
	}
	return n, nil
}

// EffectiveBacklog tells which backlog a listener gets that asks for n: the
// smaller of n and net.core.somaxconn. A negative n stands for as long as the
// kernel allows.
//
// listen(2) shortens a longer queue without a word, so whoever asks for one
// should compare the two numbers and say so. Where the limit cannot be read,
// unix.SOMAXCONN takes its place, which no kernel in use goes below unless its
// administrator said so.
func EffectiveBacklog(n int) int {
	limit, err := Somaxconn()
	if err != nil {
		limit = unix.SOMAXCONN
	}
	return clampBacklog(n, limit)
}

func clampBacklog(n, limit int) int {
	if n < 0 || n > limit {
		return limit
	}
	return n
}

// askBacklog is the number that listen(2) is called with for a backlog of n:
// as a C int, with zero and less as the largest, which the kernel cuts down.
func askBacklog(n int) int {
	if n <= 0 || n > math.MaxInt32 {
		return math.MaxInt32
	}
	return n
}

// Backlog reports the backlog that was asked for, zero or less if it was as
// much as possible, and the one in effect, which is what the kernel says where
// it can be asked and EffectiveBacklog otherwise.
func (l *Listener) Backlog() (asked, effective int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, limit, err := l.queueLocked(); err == nil {
		l.effective = limit
	}
	return l.asked, l.effective
}

// SetBacklog changes the length of the accept queue at once, to n, or to as
// much as the kernel allows if n is zero or less. Clients that wait stay where
// they are, also when there are more of them than n; those that a longer queue
// has room for now come in. To set the same number again applies a new
// net.core.somaxconn. It works on adopted sockets too.
func (l *Listener) SetBacklog(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.fail("set backlog", errClosed)
	}
	if err := l.listenLocked(n); err != nil {
		return l.fail("set backlog", err)
	}
	return nil
}

// listenLocked calls listen(2), a second time for a socket that listens
// already, which changes its backlog and nothing else.
func (l *Listener) listenLocked(n int) error {
	err := l.now.control(func(fd int) error {
		return listen(fd, Options{Backlog: n})
	})
	if err != nil {
		return err
	}
	l.asked, l.effective = n, effectiveOf(n)
	return nil
}

// effectiveOf is EffectiveBacklog for the numbers of Options.Backlog, where
// zero stands for as much as possible, too.
func effectiveOf(n int) int {
	if n == 0 {
		n = -1
	}
	return EffectiveBacklog(n)
}
