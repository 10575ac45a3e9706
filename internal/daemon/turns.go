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
// A thread for each would be the end of the daemon, as there are not more than so
// many. So few turns are taken at once, and the next is for the user who has the
// fewest. A turn that lasts is stuck: it gives its place to others but goes on
// counting for its user, who in the end waits for himself alone.
type turns struct {
	atOnce   int           // those that are not stuck
	perUser  int           // of one user, stuck or not
	patience time.Duration // after which a turn is stuck; 0 for never
	despair  time.Duration // after which a user all of whose turns are stuck gets no more

	mu    sync.Mutex
	busy  int // turns that are not stuck
	stuck int
	users map[uint32]*userTurns
}

// maxStuck bounds the threads that all users together can block. Those stuck
// beyond it keep their places: the daemon gets slow and does not break.
const maxStuck = 2000

type userTurns struct {
	taken   int
	stuck   int             // of those
	since   time.Time       // all that one user may take are stuck
	waiting []chan struct{} // each is closed when its turn has come
}

// turn is the right to go ahead until it is ended.
type turn struct {
	turns *turns
	uid   uint32
	timer *time.Timer
	stuck bool
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
	this := &turn{turns: t, uid: uid}
	if t.patience > 0 {
		this.timer = time.AfterFunc(t.patience, this.giveWay)
	}
	return this, nil
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

// hopeless reports whether all turns of a user have been stuck for some time.
func (t *turns) hopeless(uid uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[uid]
	return u != nil && u.stuck >= t.perUser && time.Since(u.since) > t.despair
}

// end gives the turn to the next.
func (w *turn) end() {
	if w.timer != nil {
		w.timer.Stop()
	}
	t := w.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(w.uid)
	if w.stuck {
		t.stuck--
		u.stuck--
	} else {
		t.busy--
		w.stuck = true // for a timer that is just firing
	}
	u.taken--
	t.forget(w.uid, u)
	t.admit()
}

// giveWay lets others go ahead of a turn that lasts.
func (w *turn) giveWay() {
	t := w.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.stuck || t.stuck >= maxStuck {
		return
	}
	w.stuck = true
	t.busy--
	t.stuck++
	u := t.user(w.uid)
	if u.stuck++; u.stuck == t.perUser {
		u.since = time.Now()
	}
	t.admit()
}

// admit lets in whoever may, the user with the fewest turns first. The mutex is
// held, as for all that follow.
func (t *turns) admit() {
	for t.busy < t.atOnce {
		var next *userTurns
		for _, u := range t.users {
			if len(u.waiting) > 0 && u.taken < t.perUser && (next == nil || u.taken < next.taken) {
				next = u
			}
		}
		if next == nil {
			return
		}
		close(next.waiting[0])
		next.waiting = next.waiting[1:]
		next.taken++
		t.busy++
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
