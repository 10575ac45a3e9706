//go:build linux

package spawnsock

import (
	"container/list"
	"context"
	"errors"
	"maps"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("spawnsock: server closed")

// What a Server does about silent connections if its fields are zero.
const (
	DefaultMaxPending   = 1024
	DefaultPendingGrace = time.Second
)

// Server accepts connections and runs Handler on each, in a goroutine of its
// own. The zero value with a Handler works. The fields must not change once
// Serve has been called.
type Server struct {
	// Handler serves one connection, which is closed when it returns. Its
	// context is cancelled by Shutdown and by Close. A panic in it ends that
	// connection alone.
	Handler func(ctx context.Context, c *net.UnixConn)

	// MaxPending caps the connections whose handlers have not yet called
	// Asked. At the cap nobody is accepted: clients wait in the accept queue,
	// which is what the backlog is for. Zero means DefaultMaxPending, a
	// negative number no cap.
	MaxPending int

	// PendingGrace is how long a connection may be silent at the cap: the
	// oldest one that is past it is closed to make room for the next, so that
	// silent clients cannot keep everybody out. Below the cap it has no effect;
	// a deadline for the request is the handler's business. Zero means
	// DefaultPendingGrace; a negative time lets nobody go.
	PendingGrace time.Duration

	// AcceptError, if set, is told of each accept that failed and how long the
	// server will hold off; it is called from Serve and must not block.
	AcceptError func(err error, pause time.Duration)

	// Panic, if set, is told of each panic in a handler, with its stack.
	Panic func(c *net.UnixConn, value any, stack []byte)

	mu        sync.Mutex
	listeners map[*Listener]struct{}
	conns     map[*net.UnixConn]*list.Element // its place in silent; nil once it has asked
	silent    list.List                       // of silentConn, the oldest first
	accepted  uint64
	dropped   uint64
	errors    map[string]uint64
	ctx       context.Context // of all handlers
	cancel    context.CancelFunc
	stopping  bool
	freed     uint64        // how often something was given back
	wake      chan struct{} // closed at the next of these; nil if nobody waits
}

// Stats is what a Server has done so far and is doing.
type Stats struct {
	Accepted     uint64            // connections since the start
	Open         int               // connections whose handler runs
	Pending      int               // of these, the ones that have not asked for anything
	Dropped      uint64            // silent connections closed to make room
	AcceptErrors map[string]uint64 // by kind: the name of the errno, such as "EMFILE"
}

// Serve accepts connections on l until Shutdown or Close, after which it
// returns ErrServerClosed, or until l fails for good, for instance because it
// was closed elsewhere. It closes l. Lack of descriptors or memory and clients
// that went away do not end it. It may run on several listeners at once.
func (s *Server) Serve(l *Listener) error {
	defer l.Close() // a second close does nothing
	ctx, err := s.add(l)
	if err != nil {
		return err
	}
	defer s.remove(l)
	var hold holdOff
	for {
		if err := s.waitRoom(); err != nil {
			return err
		}
		freed := s.given()
		c, err := l.accept()
		if err == nil {
			hold = 0
			s.start(ctx, c)
			l.sample() // after the start: it costs this client nothing
			continue
		}
		if s.stopped() {
			return ErrServerClosed
		}
		if !transient(err) {
			return err
		}
		if wanted, err := l.wanted(err); err != nil || !wanted {
			continue // the error, of a socket that was closed or replaced, comes again
		}
		s.failed(err, hold.next())
		s.rest(freed, time.Duration(hold))
	}
}

func (s *Server) add(l *Listener) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, ErrServerClosed
	}
	s.beginLocked()
	s.listeners[l] = struct{}{}
	return s.ctx, nil
}

func (s *Server) beginLocked() {
	if s.ctx == nil {
		s.listeners = make(map[*Listener]struct{})
		s.conns = make(map[*net.UnixConn]*list.Element)
		s.errors = make(map[string]uint64)
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
}

func (s *Server) remove(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// start runs the handler. Nothing slow may happen here: it keeps the next
// client waiting.
func (s *Server) start(ctx context.Context, c *net.UnixConn) {
	if s.take(c) {
		// The goroutine ends with its handler; Shutdown waits for it.
		go s.serve(ctx, c)
	}
}

// take makes c one of the server's connections, unless it is stopping.
func (s *Server) take(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		_ = c.Close() // nothing was said yet
		return false
	}
	s.conns[c] = s.silent.PushBack(silentConn{c, time.Now()})
	s.accepted++
	return true
}

// ServeConn serves one connection that somebody else accepted, as inetd(8) and
// systemd do, and returns when its handler has. It closes c. If the server is
// stopping it serves nothing and returns ErrServerClosed. MaxPending does not
// count for it.
func (s *Server) ServeConn(c *net.UnixConn) error {
	s.mu.Lock()
	s.beginLocked()
	ctx := s.ctx
	s.mu.Unlock()
	if !s.take(c) {
		return ErrServerClosed
	}
	s.serve(ctx, c)
	return nil
}

func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	defer func() {
		if v := recover(); v != nil && s.Panic != nil {
			s.Panic(c, v, debug.Stack())
		}
		_ = c.Close() // what the handler had to say it has said
		s.done(c)
	}()
	s.Handler(ctx, c)
}

func (s *Server) done(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heardLocked(c)
	delete(s.conns, c)
	s.giveLocked()
}

// Asked says that the peer of c has made a complete request, so that c no
// longer counts against MaxPending. A second call does nothing.
func (s *Server) Asked(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heardLocked(c) {
		s.giveLocked()
	}
}

// Nudge makes a server that holds off for lack of descriptors or memory try
// again at once. The end of a connection does so by itself; call it when
// something else was given back.
func (s *Server) Nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveLocked()
}

// Stats returns the present numbers.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Accepted:     s.accepted,
		Open:         len(s.conns),
		Pending:      s.silent.Len(),
		Dropped:      s.dropped,
		AcceptErrors: maps.Clone(s.errors),
	}
}

// Shutdown closes the listeners, cancels the handlers' context and waits for
// them to return, or for ctx; then it returns ctx.Err. Connections stay open,
// so that handlers can say goodbye; Close ends those that do not.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stop()
	for {
		s.mu.Lock()
		open, wake := len(s.conns), s.wakeLocked()
		s.mu.Unlock()
		if open == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

// Close closes the listeners and all connections and cancels the handlers'
// context. It does not wait for the handlers.
func (s *Server) Close() error {
	err := s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close() // wakes the handler
	}
	return err
}

// stop closes the listeners, once.
func (s *Server) stop() error {
	s.mu.Lock()
	s.stopping = true
	listeners := s.listeners
	s.listeners = nil
	if s.cancel != nil {
		s.cancel()
	}
	s.giveLocked()
	s.mu.Unlock()
	var err error
	for l := range listeners {
		if e := l.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *Server) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}
