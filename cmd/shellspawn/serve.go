package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"shellspawn/internal/daemon"
)

// options are the flags of serve.
type options struct {
	config     daemon.Config
	mode       string
	background bool
	logFile    string
	logLevel   string
	logFormat  string
}

func serveFlags(o *options) *pflag.FlagSet {
	f := newFlags("serve")
	c := &o.config
	f.StringVar(&c.Socket, "socket", "", "")
	f.StringVar(&o.mode, "socket-mode", "0600", "")
	f.StringVar(&c.SocketGroup, "socket-group", "", "")
	f.IntVar(&c.Backlog, "backlog", 4096, "")
	f.StringVar(&c.Shell, "shell", "", "")
	f.StringArrayVar(&c.AllowUsers, "allow-user", nil, "")
	f.StringArrayVar(&c.AllowGroups, "allow-group", nil, "")
	f.IntVar(&c.MaxShells, "max-shells", 0, "")
	f.IntVar(&c.MaxShellsPerUser, "max-shells-per-user", 0, "")
	f.DurationVar(&c.RequestTimeout, "request-timeout", 10*time.Second, "")
	f.DurationVar(&c.HangupGrace, "hangup-grace", 5*time.Second, "")
	f.DurationVar(&c.ShutdownGrace, "shutdown-grace", 10*time.Second, "")
	f.BoolVar(&o.background, "background", false, "")
	f.StringVar(&c.PIDFile, "pid-file", "", "")
	f.StringVar(&o.logFile, "log-file", "", "")
	f.StringVar(&o.logLevel, "log-level", "info", "")
	f.StringVar(&o.logFormat, "log-format", "text", "")
	return f
}

// parseServe checks everything that can be checked before anything is done.
func parseServe(args []string) (*options, error) {
	o := &options{}
	f := serveFlags(o)
	if err := parse(f, args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	o.config.Version = version
	if o.config.Socket == "" {
		o.config.Socket = defaultSocket()
	}
	return o, o.resolve()
}

func (o *options) check() error {
	mode, err := strconv.ParseUint(o.mode, 8, 32)
	if err != nil || mode&^0o777 != 0 {
		return fmt.Errorf("--socket-mode %s: not an octal mode such as 0660", o.mode)
	}
	c := &o.config
	c.SocketMode = fs.FileMode(mode)
	if c.Backlog < 1 {
		return fmt.Errorf("--backlog %d: must be at least 1", c.Backlog)
	}
	if c.MaxShells < 0 {
		return fmt.Errorf("--max-shells %d: must not be negative", c.MaxShells)
	}
	if c.MaxShellsPerUser < 0 {
		return fmt.Errorf("--max-shells-per-user %d: must not be negative", c.MaxShellsPerUser)
	}
	if c.RequestTimeout <= 0 {
		return fmt.Errorf("--request-timeout %s: must be more than nothing", c.RequestTimeout)
	}
	if c.HangupGrace < 0 {
		return fmt.Errorf("--hangup-grace %s: must not be negative", c.HangupGrace)
	}
	if c.ShutdownGrace <= 0 {
		return fmt.Errorf("--shutdown-grace %s: must be more than nothing", c.ShutdownGrace)
	}
	_, err = daemon.NewLog(io.Discard, o.logLevel, o.logFormat, false)
	return err
}

// resolve makes paths independent of the working directory, which a background
// daemon leaves. A shell's name without a slash is looked for on the PATH.
func (o *options) resolve() error {
	paths := []*string{&o.config.Socket, &o.config.PIDFile, &o.logFile}
	if strings.Contains(o.config.Shell, "/") {
		paths = append(paths, &o.config.Shell)
	}
	for _, p := range paths {
		if *p == "" || strings.HasSuffix(*p, "/") {
			continue // the latter is no name of a file, and stays wrong as it is
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// systemSocket is where the system's daemon listens.
const systemSocket = "/run/shellspawn.sock"

// defaultSocket is where the daemon listens unless told otherwise; "" if nothing
// says where.
func defaultSocket() string {
	if path := os.Getenv("SHELLSPAWN_SOCKET"); path != "" {
		return path
	}
	if os.Geteuid() == 0 {
		return systemSocket
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir + "/shellspawn.sock"
	}
	return ""
}

// serve is the command of that name.
func serve(args []string) int {
	o, err := parseServe(args)
	if status, done := parsed(err); done {
		return status
	}
	supervisor, err := daemon.FindSupervisor()
	if err != nil {
		return failure(err)
	}
	if o.config.Socket == "" && supervisor.Sockets() == 0 {
		return usage(errors.New("--socket: needed, since XDG_RUNTIME_DIR is not set"))
	}
	o.config.Supervisor = supervisor
	starter := daemon.FindStarter(os.Getenv(daemon.ReadyVariable))
	if o.background && starter == nil {
		return background(o, args)
	}
	if err := o.run(starter); err != nil {
		starter.Failed(err)
		return failure(err)
	}
	return statusOK
}

// background starts the same once more. Flags at the end win, so the paths there
// are those that were resolved here.
func background(o *options, args []string) int {
	if o.config.Supervisor.Sockets() > 0 {
		return failure(errors.New("serve --background: sockets of a service manager are served in the foreground only"))
	}
	again := append([]string{"serve"}, args...)
	for flag, path := range map[string]string{
		"socket": o.config.Socket, "pid-file": o.config.PIDFile, "log-file": o.logFile, "shell": o.config.Shell,
	} {
		if path != "" {
			again = append(again, "--"+flag+"="+path)
		}
	}
	if err := daemon.StartBackground(again); err != nil {
		return failure(err)
	}
	return statusOK
}

// run serves until a signal or a request ends it.
func (o *options) run(starter *daemon.Starter) error {
	onTerminal := hasTerminal() && !signal.Ignored(unix.SIGHUP)
	signals := catchSignals()
	log, reopen, err := o.openLog(starter != nil)
	if err != nil {
		return err
	}
	o.config.ReopenLog = reopen
	logger, err := daemon.NewLog(log, o.logLevel, o.logFormat, o.logFile == "" && o.config.Supervisor.Journal())
	if err != nil {
		return err
	}
	d, err := daemon.New(o.config, logger)
	if err != nil {
		return err
	}
	if err := d.Open(); err != nil {
		return err
	}
	if err := starter.Ready(); err != nil {
		d.Close()
		return err
	}
	go obey(d, signals, onTerminal)
	return d.Serve()
}

// openLog opens where to log to. In the background the log file is standard
// error as well: there the runtime reports a crash.
func (o *options) openLog(background bool) (io.Writer, func() error, error) {
	if o.logFile == "" {
		return os.Stderr, nil, nil
	}
	file, err := daemon.OpenLogFile(o.logFile, background)
	if err != nil {
		return nil, nil, err
	}
	return file, file.Reopen, nil
}

// catchSignals begins to catch what a daemon obeys. SIGPIPE is caught so that a
// log that nobody reads any more ends no shell.
func catchSignals() <-chan os.Signal {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	return ch
}

// obey runs to the end of the process. SIGHUP asks for a reload, unless the
// terminal that the daemon was started on is gone: then it ends with it, like any
// program in the foreground. The second signal to stop makes the stop immediate.
func obey(d *daemon.Daemon, signals <-chan os.Signal, onTerminal bool) {
	stops := 0
	for sig := range signals {
		switch {
		case sig == unix.SIGHUP && !(onTerminal && !hasTerminal()):
			d.Reload()
		case sig != unix.SIGPIPE:
			if stops++; stops == 1 {
				d.Shutdown()
			} else {
				d.Hurry()
			}
		}
	}
}

// hasTerminal says whether this process has a controlling terminal.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd) // it was opened for nothing else
	return true
}
