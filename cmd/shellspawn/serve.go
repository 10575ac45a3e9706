package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
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
	pidFile    string
	logFile    string
	logLevel   string
	logFormat  string
}

func serveFlags(o *options) *pflag.FlagSet {
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.Usage = func() {}
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
	f.StringVar(&o.pidFile, "pid-file", "", "")
	f.StringVar(&o.logFile, "log-file", "", "")
	f.StringVar(&o.logLevel, "log-level", "info", "")
	f.StringVar(&o.logFormat, "log-format", "text", "")
	return f
}

// parseServe checks everything that can be checked before anything is done.
func parseServe(args []string) (*options, error) {
	o := &options{}
	f := serveFlags(o)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	mode, err := strconv.ParseUint(o.mode, 8, 32)
	if err != nil || mode&^0o777 != 0 {
		return nil, fmt.Errorf("--socket-mode %s: not an octal mode such as 0660", o.mode)
	}
	o.config.SocketMode = fs.FileMode(mode)
	if o.config.Backlog < 1 {
		return nil, fmt.Errorf("--backlog %d: must be at least 1", o.config.Backlog)
	}
	for flag, d := range map[string]time.Duration{
		"request-timeout": o.config.RequestTimeout, "shutdown-grace": o.config.ShutdownGrace,
	} {
		if d <= 0 {
			return nil, fmt.Errorf("--%s %s: must be more than nothing", flag, d)
		}
	}
	o.config.Version = version
	if o.config.Socket == "" {
		o.config.Socket = defaultSocket()
	}
	if o.config.Socket == "" {
		return nil, errors.New("--socket: needed, since XDG_RUNTIME_DIR is not set")
	}
	return o, nil
}

// defaultSocket is where the daemon listens unless told otherwise.
func defaultSocket() string {
	if path := os.Getenv("SHELLSPAWN_SOCKET"); path != "" {
		return path
	}
	if os.Geteuid() == 0 {
		return "/run/shellspawn.sock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir + "/shellspawn.sock"
	}
	return ""
}

// serve is the command of that name.
func serve(args []string) int {
	o, err := parseServe(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Print(help)
		return statusOK
	}
	if err != nil {
		return usage(err)
	}
	log, err := daemon.NewLog(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return usage(err)
	}
	d, err := daemon.New(o.config, log)
	if err != nil {
		return failure(err)
	}
	l, err := d.Listen()
	if err != nil {
		return failure(err)
	}
	go stopOnSignal(d)
	if err := d.Serve(l); err != nil {
		return failure(err)
	}
	return statusOK
}

func stopOnSignal(d *daemon.Daemon) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT)
	<-ch
	d.Shutdown()
}
