package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	flags      *pflag.FlagSet
	file       configFile
	config     daemon.Config
	mode       string
	background bool
	logLevel   string
	logFormat  string
}

func serveFlags(o *options) *pflag.FlagSet {
	f := newFlags("serve")
	c := &o.config
	f.StringVar(&o.file.path, "config", "", "")
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
	f.StringVar(&c.LogFile, "log-file", "", "")
	f.StringVar(&o.logLevel, "log-level", "info", "")
	f.StringVar(&o.logFormat, "log-format", "text", "")
	return f
}

// parseServe checks everything that can be checked before anything is done.
func parseServe(args []string) (*options, error) {
	o := &options{}
	o.flags = serveFlags(o)
	if err := parse(o.flags, args); err != nil {
		return nil, err
	}
	if o.flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", o.flags.Arg(0))
	}
	if err := absolute(&o.file.path); err != nil {
		return nil, err
	}
	if o.file.path != "" {
		if err := o.file.read(o.flags); err != nil {
			return nil, err
		}
	}
	if err := o.check(); err != nil {
		return nil, o.file.locate(err)
	}
	o.config.Version = version
	if o.config.Socket == "" {
		o.config.Socket = defaultSocket()
	}
	if strings.HasPrefix(o.config.Socket, "@") {
		return nil, &wrongValue{"socket", o.config.Socket, "not a path; nothing guards an abstract socket"}
	}
	return o, o.resolve()
}

// check turns texts into values and refuses those that make no sense.
func (o *options) check() error {
	mode, err := strconv.ParseUint(o.mode, 8, 32)
	if err != nil || mode&^0o777 != 0 {
		return &wrongValue{"socket-mode", o.mode, "not an octal mode such as 0660"}
	}
	c := &o.config
	c.SocketMode = fs.FileMode(mode)
	if err := c.LogLevel.UnmarshalText([]byte(o.logLevel)); err != nil {
		return &wrongValue{"log-level", o.logLevel, "not one of debug, info, warn, error"}
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		return &wrongValue{"log-format", o.logFormat, "not one of text, json"}
	}
	for _, bound := range []struct {
		flag  string
		wrong bool
		cause string
	}{
		{"backlog", c.Backlog < 1, "must be at least 1"},
		{"max-shells", c.MaxShells < 0, "must not be negative"},
		{"max-shells-per-user", c.MaxShellsPerUser < 0, "must not be negative"},
		{"request-timeout", c.RequestTimeout <= 0, "must be more than nothing"},
		{"hangup-grace", c.HangupGrace < 0, "must not be negative"},
		{"shutdown-grace", c.ShutdownGrace <= 0, "must be more than nothing"},
	} {
		if bound.wrong {
			return &wrongValue{bound.flag, o.flags.Lookup(bound.flag).Value.String(), bound.cause}
		}
	}
	return nil
}

// resolve makes paths independent of the working directory, which a background
// daemon leaves. A shell's name without a slash is looked for on the PATH.
func (o *options) resolve() error {
	paths := []*string{&o.config.Socket, &o.config.PIDFile, &o.config.LogFile}
	if strings.Contains(o.config.Shell, "/") {
		paths = append(paths, &o.config.Shell)
	}
	for _, p := range paths {
		if err := absolute(p); err != nil {
			return err
		}
	}
	return nil
}

// absolute leaves what is no name of a file, and stays wrong as it is.
func absolute(path *string) (err error) {
	if *path == "" || strings.HasSuffix(*path, "/") {
		return nil
	}
	relative := *path
	if *path, err = filepath.Abs(relative); err != nil {
		return fmt.Errorf("path %s: %w", relative, err)
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
	if o.file.path != "" {
		o.config.Reread = func() (daemon.Settings, []string, error) { return o.reread(args) }
	}
	if err := o.run(starter); err != nil {
		starter.Failed(err)
		// What is printed now may wait for a reader, and signals end that.
		signal.Reset()
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
		"socket": o.config.Socket, "pid-file": o.config.PIDFile, "log-file": o.config.LogFile,
		"shell": o.config.Shell, "config": o.file.path,
	} {
		// What stands in the file may change there, and a flag would win.
		if path != "" && !o.file.sets(flag) {
			again = append(again, "--"+flag+"="+path)
		}
	}
	if err := daemon.StartBackground(again); err != nil {
		return failure(err)
	}
	return statusOK
}

// fixed are the flags that a daemon obeys at its start only.
var fixed = []string{"socket", "socket-mode", "socket-group", "background", "pid-file", "log-format"}

// reread reads the file of flags again, in the light of the same command line. It
// returns what the daemon can change, and the flags that it cannot and that say
// something else now.
func (o *options) reread(args []string) (daemon.Settings, []string, error) {
	next, err := parseServe(args)
	if err != nil {
		return daemon.Settings{}, nil, err
	}
	var differ []string
	for _, name := range fixed {
		if o.flags.Lookup(name).Value.String() != next.flags.Lookup(name).Value.String() {
			differ = append(differ, name)
		}
	}
	settings := next.config.Settings
	if (settings.LogFile == "") != (o.config.LogFile == "") {
		differ = append(differ, "log-file")
		settings.LogFile = o.config.LogFile
	}
	return settings, differ, nil
}

// run serves until a signal or a request ends it.
func (o *options) run(starter *daemon.Starter) error {
	onTerminal := hasTerminal() && !signal.Ignored(unix.SIGHUP)
	signals := catchSignals()
	log, err := o.openLog(starter != nil)
	if err != nil {
		return err
	}
	defer o.config.LogQueue.Flush() // nothing is logged after the last line
	d, err := daemon.New(o.config, log)
	if err != nil {
		return err
	}
	if err := d.Open(); err != nil {
		return err
	}
	o.config.LogQueue.Flush() // whoever waits for a background daemon finds its first line
	if err := starter.Ready(); err != nil {
		d.Close()
		return err
	}
	go obey(d, signals, onTerminal)
	return d.Serve()
}

// openLog opens where to log to. In the background the log file is standard
// error as well: there the runtime reports a crash.
func (o *options) openLog(background bool) (*slog.Logger, error) {
	c := &o.config
	c.Level = new(slog.LevelVar)
	c.Level.Set(c.LogLevel)
	var log *slog.Logger
	if c.LogFile == "" {
		log, c.LogQueue = daemon.NewLog(os.Stderr, c.Level, o.logFormat, c.Supervisor.Journal())
		return log, nil
	}
	var err error
	if c.Log, err = daemon.OpenLogFile(c.LogFile, background); err != nil {
		return nil, err
	}
	log, c.LogQueue = daemon.NewLog(c.Log, c.Level, o.logFormat, false)
	return log, nil
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
// program in the foreground. The second signal to stop makes the stop immediate. A
// reload that hangs, on a file or on the user database, is not in the way of that.
func obey(d *daemon.Daemon, signals <-chan os.Signal, onTerminal bool) {
	stops := 0
	reload := make(chan struct{}, 1)
	go func() {
		for range reload {
			d.Reload()
		}
	}()
	for sig := range signals {
		switch {
		case sig == unix.SIGHUP && !(onTerminal && !hasTerminal()):
			select {
			case reload <- struct{}{}:
			default: // the one that waits will see all that has changed
			}
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
