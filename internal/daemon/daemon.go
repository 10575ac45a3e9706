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
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"shellspawn/internal/userdb"
	"shellspawn/ptyexec"
	"shellspawn/spawnsock"
)

// Config is what the daemon is told on its command line.
type Config struct {
	Socket      string
	SocketMode  fs.FileMode
	SocketGroup string
	Version     string
	// Settings are what it begins with.
	Settings

	// Supervisor is the service manager that started this process; nil if it
	// was started by hand.
	Supervisor *Supervisor
	// PIDFile gets the process id once the socket accepts; empty for none.
	PIDFile string
	// Log is the file that the log is written to; nil if it is no file.
	Log *LogFile
	// LogQueue is what the log goes through; nil if nothing has to be waited for.
	LogQueue *LogQueue
	// Level is that of the log; nil if nobody can change it.
	Level *slog.LevelVar
	// Reread is called by Reload. It returns the settings of this moment, and the
	// flags that say something new and count only from the next start on; nil if
	// there is nothing to read them from.
	Reread func() (s Settings, fixed []string, err error)
}

// Daemon serves connections. Its methods may be called from any goroutine.
type Daemon struct {
	config     Config
	log        *slog.Logger
	users      *userdb.DB
	euid       uint32
	ttyGID     uint32
	inForce    atomic.Pointer[force]
	server     *spawnsock.Server
	watch      *watcher
	supervisor *Supervisor
	start      time.Time
	turns      turns // to do what may take a client's time
	large      turns // to keep a request that is large
	closing    turns // to close a connection
	selfCheck  func(path string, limit time.Duration) error

	// Set by Open and not changed after it.
	listeners []*spawnsock.Listener
	passed    *net.UnixConn // the one connection of Accept=yes

	lastConn atomic.Uint32
	mu       sync.Mutex
	shells   map[uint32]*shell
	perUser  map[uint32]int
	halves   map[uint32]int // requests that have come in part, with descriptors
	refused  map[string]uint64
	places   int    // shells running or being started
	total    uint64 // shells ever started
	stopping bool
	failure  error // why it ends, if nobody asked it to
	held     []int // connections that tell their clients when the daemon is gone

	waited      uint64 // clients that had to wait for the accept queue
	longestWait uint32 // in milliseconds

	stop      sync.Once
	hurryOnce sync.Once
	hurry     chan struct{} // closed by Hurry
	left      chan struct{} // has a value after a shell has ended during a stop
	ended     chan struct{} // closed when a stop is over
}

// New prepares a daemon that logs to log. It fails if the configuration cannot
// be used, before anything is listened on.
func New(c Config, log *slog.Logger) (*Daemon, error) {
	if err := ptyexec.Prepare(); err != nil {
		return nil, err
	}
	d := &Daemon{
		config: c, log: log, users: &userdb.DB{}, supervisor: c.Supervisor,
		euid: uint32(os.Geteuid()), start: time.Now(), selfCheck: askOneself,
		shells: make(map[uint32]*shell), perUser: make(map[uint32]int), halves: make(map[uint32]int),
		refused: make(map[string]uint64),
		hurry:   make(chan struct{}), left: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if d.supervisor == nil {
		d.supervisor = noSupervisor()
	}
	first, err := d.prepare(c.Settings)
	if err != nil {
		return nil, err
	}
	d.inForce.Store(first)
	d.ttyGID, _ = d.users.GroupByName("tty") // without the group terminals keep their own
	if d.watch, err = newWatcher(d); err != nil {
		return nil, err
	}
	d.turns = turns{total: 8, despair: 5 * time.Second}
	d.large = turns{total: 8}
	d.closing = turns{total: 2}
	limitThreads(d.turns.total + d.closing.total)
	relaxMonitor()
	d.server = &spawnsock.Server{
		Handler: d.handle, MaxPending: maxPending(),
		AcceptError: d.acceptErrors(), Panic: d.handlerPanic,
	}
	return d, nil
}
