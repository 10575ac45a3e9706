package userdb

import (
	"sync"
	"time"
)

// How long an answer is kept. Long enough that a burst of shells of one user
// costs one run of getent, short enough that nobody waits for a new account to
// work or for a removed one to stop working.
const (
	keepFound = 10 * time.Second
	keepOther = 3 * time.Second // not found, or no answer at all
)

// maxAnswers bounds how many answers are kept, as clients choose the questions.
const maxAnswers = 4096

// question is one argument pair of getent. An empty key asks for all entries.
type question struct{ database, key string }

// answer is what getent said. out, err and until may be read once done is
// closed.
type answer struct {
	done  chan struct{}
	out   []byte
	err   error
	until time.Time
}

// answers keeps answers for a short time and asks each question once, however
// many goroutines want to know at the same moment.
type answers struct {
	mu    sync.Mutex
	known map[question]*answer
}

// get returns the answer to q, from fetch if there is none fresh enough. It
// blocks until fetch, run by this caller or by another, has returned.
func (a *answers) get(q question, fetch func(question) ([]byte, error)) ([]byte, error) {
	a.mu.Lock()
	found := a.known[q]
	if found == nil || found.stale() {
		found = &answer{done: make(chan struct{})}
		a.makeRoom()
		a.known[q] = found
		a.mu.Unlock()
		found.fill(q, fetch)
		return found.out, found.err
	}
	a.mu.Unlock()
	<-found.done
	return found.out, found.err
}

// fill asks, and releases those who wait for the answer even if fetch panics.
func (n *answer) fill(q question, fetch func(question) ([]byte, error)) {
	defer close(n.done)
	n.out, n.err = fetch(q)
	n.until = time.Now().Add(keepTime(n))
}

// makeRoom drops what is out of date once the map is full, and everything if
// that was not enough. Callers hold the mutex.
func (a *answers) makeRoom() {
	if a.known == nil {
		a.known = map[question]*answer{}
	}
	if len(a.known) < maxAnswers {
		return
	}
	for q, old := range a.known {
		if old.stale() {
			delete(a.known, q)
		}
	}
	if len(a.known) >= maxAnswers {
		clear(a.known)
	}
}

// stale reports whether the answer is complete and out of date.
func (n *answer) stale() bool {
	select {
	case <-n.done:
		return time.Now().After(n.until)
	default:
		return false
	}
}

func keepTime(n *answer) time.Duration {
	if n.err != nil || len(n.out) == 0 {
		return keepOther
	}
	return keepFound
}
