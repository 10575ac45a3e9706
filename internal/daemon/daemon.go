// Package daemon is the server: it takes one connection from its request to the
// exit status, and joins the socket (spawnsock) and the shell (ptyexec), which
// know nothing of each other.
//
// A connection has a goroutine of its own from accept to close. While its shell
// runs that goroutine waits for the shell's end; what the client sends
// meanwhile is noticed by one goroutine for all (watch.go). The order of
// goodbye is: the shell ends, its status is sent, the connection closes. Output
// is not in that order, since it never comes this way.
package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"shellspawn/internal/userdb"
	"shellspawn/spawnsock"
)

// Config is what the daemon is told on its command line.
type Config struct {
	Socket      string
	SocketMode  fs.FileMode
	SocketGroup string
	Backlog     int
	// Shell is run in place of each user's own; empty for that.
	Shell            string
	AllowUsers       []string
	AllowGroups      []string
	MaxShells        int
	MaxShellsPerUser int
	// RequestTimeout bounds the time from accept to exec.
	RequestTimeout time.Duration
	HangupGrace    time.Duration
	ShutdownGrace  time.Duration
	Version        string
}

// Daemon serves connections. Its methods may be called from any goroutine.
type Daemon struct {
	config Config
	log    *slog.Logger
	users  *userdb.DB
	euid   uint32
	ttyGID uint32
	policy policy
	server *spawnsock.Server
	watch  *watcher
	start  time.Time

	lastConn atomic.Uint32
	mu       sync.Mutex
	shells   map[uint32]*shell
	perUser  map[uint32]int
	refused  map[string]uint64
	places   int    // shells running or being started
	total    uint64 // shells ever started
	stopping bool

	waited      uint64 // clients that had to wait for the accept queue
	longestWait uint32 // in milliseconds
}

// New prepares a daemon that logs to log. It fails if the configuration cannot
// be used, before anything is listened on.
func New(c Config, log *slog.Logger) (*Daemon, error) {
	d := &Daemon{
		config: c, log: log, users: &userdb.DB{},
		euid: uint32(os.Geteuid()), start: time.Now(),
		shells: make(map[uint32]*shell), perUser: make(map[uint32]int),
		refused: make(map[string]uint64),
	}
	var err error
	if d.policy, err = newPolicy(d); err != nil {
		return nil, err
	}
	d.ttyGID, _ = d.users.GroupByName("tty") // without the group terminals keep their own
	if d.watch, err = newWatcher(d); err != nil {
		return nil, err
	}
	d.server = &spawnsock.Server{Handler: d.handle}
	return d, nil
}

// Listen opens the daemon's own socket.
func (d *Daemon) Listen() (*spawnsock.Listener, error) {
	o := spawnsock.Options{Backlog: d.config.Backlog, Mode: d.config.SocketMode}
	if d.config.SocketGroup != "" {
		gid, err := d.groupID(d.config.SocketGroup)
		if err != nil {
			return nil, err
		}
		o.Group = int(gid)
	}
	return spawnsock.Listen(d.config.Socket, o)
}

// Serve accepts connections until Shutdown, and returns nil then.
func (d *Daemon) Serve(l *spawnsock.Listener) error {
	d.announce(l)
	if err := d.server.Serve(l); !errors.Is(err, spawnsock.ErrServerClosed) {
		return err
	}
	return nil
}

// announce logs the backlog asked for and the one granted: the kernel clamps in
// silence.
func (d *Daemon) announce(l *spawnsock.Listener) {
	asked, effective := l.Backlog()
	somaxconn, _ := spawnsock.Somaxconn() // 0 says that it cannot be read
	d.log.Info("listening", "path", l.Path(), "backlog", asked, "effective", effective, "somaxconn", somaxconn)
	if asked > effective {
		d.log.Warn("backlog cut by the kernel; raise net.core.somaxconn", "backlog", asked, "effective", effective)
	}
}

// Shutdown stops accepting, hangs every shell up, and returns when all have
// ended and their statuses are sent, or when the shutdown grace is over.
func (d *Daemon) Shutdown() {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), d.config.ShutdownGrace)
	defer cancel()
	d.log.Info("drain", "shells", d.hangUpAll())
	if err := d.server.Shutdown(ctx); err != nil {
		_ = d.server.Close() // what is left is cut off
	}
	d.log.Info("shutdown")
}

// shutdownHangup is the time shells get between hang-up and kill when the
// daemon stops: it has to fit into the shutdown grace.
func (d *Daemon) shutdownHangup() time.Duration {
	return min(d.config.HangupGrace, d.config.ShutdownGrace*4/5)
}

func (d *Daemon) hangUpAll() int {
	d.mu.Lock()
	all := make([]*shell, 0, len(d.shells))
	for _, s := range d.shells {
		all = append(all, s)
	}
	d.mu.Unlock()
	for _, s := range all {
		s.hangUp(causeShutdown, d.shutdownHangup())
	}
	return len(all)
}

// logPanic logs a bug with its stack.
func (d *Daemon) logPanic(conn uint32, cause any) {
	d.log.Error("panic", "conn", conn, "cause", cause, "stack", string(debug.Stack()))
}
