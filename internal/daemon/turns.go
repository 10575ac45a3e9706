package daemon

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// turns bounds how many goroutines do at once what may block a thread for as
// long as a client likes: to start a program on a file system of his that does
// not answer, or to close a file there, or a socket that lingers.
//
// A turn that hangs keeps its thread, and a thread more than the machine allows is the end
// of the daemon. So there are no more turns than threads made beforehand, see warmThreads.
// The next one is for the user who has the fewest, and nobody has more than he leaves free:
// with one who hangs in all that he can get half are left, with a second one a quarter.
type turns struct {
	total   int
	despair time.Duration // after which a user whose turns do not move gets no more; 0 for never

	mu    sync.Mutex
	taken int
	users map[uint32]*userTurns
}

type userTurns struct {
	taken   int
	moved   time.Time       // when he last got a turn or ended one
	waiting []chan struct{} // each is closed when its turn has come
}

// turn is the right to go ahead until it is ended.
type turn struct {
	turns *turns
	uid   uint32
}

// take waits for a turn of this user, until ctx ends. The error is a refusal.
func (t *turns) take(ctx context.Context, uid uint32) (*turn, error) {
	t.mu.Lock()
	u := t.user(uid)
	come := make(chan struct{})
	u.waiting = append(u.waiting, come)
	t.admit()
	t.mu.Unlock()
	select {
	case <-come:
	default:
		if err := t.await(ctx, uid, come); err != nil {
			return nil, err
		}
	}
	return &turn{turns: t, uid: uid}, nil
}

// await waits for come. A user whose earlier requests all hang is told so soon: his
// further ones must not pile up until there is no room for those of others.
func (t *turns) await(ctx context.Context, uid uint32, come chan struct{}) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		if ctx.Done() != nil && t.hopeless(uid) && t.leave(uid, come) {
			return noise("busy", "request: earlier requests of this user hang")
		}
		select {
		case <-come:
			return nil
		case <-ctx.Done():
			if t.leave(uid, come) {
				return refuse("busy", "request: no turn in time", "earlier requests of this user may hang")
			}
			return nil
		case <-look.C:
		}
	}
}

// hopeless reports whether a user has turns and none of them has moved for some time.
func (t *turns) hopeless(uid uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[uid]
	return t.despair > 0 && u != nil && u.taken > 0 && time.Since(u.moved) > t.despair
}

// end gives the turn to the next.
func (w *turn) end() {
	t := w.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(w.uid)
	t.taken--
	u.taken--
	u.moved = time.Now()
	t.forget(w.uid, u)
	t.admit()
}

// admit lets in whoever may, the user with the fewest turns first. The mutex is
// held, as for all that follow.
func (t *turns) admit() {
	for {
		var next *userTurns
		for _, u := range t.users {
			if len(u.waiting) > 0 && u.taken < t.total-t.taken && (next == nil || u.taken < next.taken) {
				next = u
			}
		}
		if next == nil {
			return
		}
		close(next.waiting[0])
		next.waiting = next.waiting[1:]
		next.taken++
		next.moved = time.Now()
		t.taken++
	}
}

// leave takes back a request for a turn. It is false if the turn has come.
func (t *turns) leave(uid uint32, come chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(uid)
	for i := range u.waiting {
		if u.waiting[i] == come {
			u.waiting = append(u.waiting[:i:i], u.waiting[i+1:]...)
			t.forget(uid, u)
			return true
		}
	}
	return false
}

func (t *turns) user(uid uint32) *userTurns {
	u := t.users[uid]
	if u == nil {
		if t.users == nil {
			t.users = make(map[uint32]*userTurns)
		}
		u = &userTurns{}
		t.users[uid] = u
	}
	return u
}

func (t *turns) forget(uid uint32, u *userTurns) {
	if u.taken == 0 && len(u.waiting) == 0 {
		delete(t.users, uid)
	}
}

// maxProcs is on how many processors the daemon runs at once. It copies no bytes, so
// more would only be more threads.
const maxProcs = 3

// limitThreads makes the threads that there will be: some of them may block, and each
// processor needs one. The main thread and that of the signals are there already.
func limitThreads(block int) {
	procs := min(maxProcs, runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(procs)
	warmThreads(block + procs - 2)
}

// warmThreads makes the runtime keep n threads. One that it has to make when the
// machine allows no more of them is the end of the process, so those that the turns
// need are made beforehand. The runtime never lets go of a thread that is idle.
func warmThreads(n int) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	done.Add(n)
	for range n {
		go func() {
			defer done.Done()
			// With the goroutine locked to it the thread serves no other.
			runtime.LockOSThread()
			ready.Done()
			ready.Wait()
			runtime.UnlockOSThread()
		}()
	}
	done.Wait()
}
