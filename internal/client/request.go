package client

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// buildStart puts together the one request of a connection.
func buildStart(o *Options, dir directory) *wire.Start {
	s := &wire.Start{
		Argv:      o.Args,
		ShellPath: o.Shell,
		Login:     o.Login,
		Umask:     uint32(currentUmask()),
		User:      o.User,
	}
	switch {
	case o.HasCommand:
		s.Shell, s.Argv = true, append([]string{"-c", o.Command}, o.Args...)
	case len(o.Args) == 0:
		s.Shell, s.Login, s.Argv = true, true, nil
	case o.Login || o.Shell != "":
		// The shell reads its profile and then becomes the program.
		s.Shell, s.Argv = true, append([]string{"-c", `exec "$0" "$@"`}, o.Args...)
	}
	s.Dir, s.DirRequired = dir.path, dir.required
	s.Env = environment(o)
	s.Named = named(o, s.Env)
	return s
}

// nameless refuses a command whose name is empty, mostly that of a variable which
// is not set. No program has that name, and errors about it would read strangely.
func (o *Options) nameless() *failure {
	if o.HasCommand || len(o.Args) == 0 || o.Args[0] != "" {
		return nil
	}
	f := fail(`exec "": the name of the command is empty`).withHint("without any command there is a login shell")
	f.status = statusNotFound
	return f
}

// perhapsShell says what somebody may have meant whose command was not found and
// looks like a line for a shell.
func (o *Options) perhapsShell(f *failure) *failure {
	if f.status == statusNotFound && f.hint == "" && len(o.Args) == 1 && strings.ContainsAny(o.Args[0], " |;&<>$*") {
		f.hint = "that is taken for the name of one program; -c runs a line in the shell"
	}
	return f
}

// currentUmask reads the umask, which can only be done by setting it.
func currentUmask() int {
	mask := unix.Umask(0o077)
	unix.Umask(mask)
	return mask
}

// directory is where the program is to start, and whether the user asked for it.
type directory struct {
	path     string
	required bool
}

// workingDirectory is the one asked for, a relative one relative to ours, or
// else ours. If ours has been removed there is none, and the daemon falls back
// to the home directory.
func workingDirectory(o *Options, r *reporter) (directory, *failure) {
	if o.Dir != "" && o.Dir[0] == '/' {
		return directory{o.Dir, true}, nil
	}
	cwd, err := getcwd()
	switch {
	case o.Dir != "" && err != nil:
		return directory{}, fail("chdir ", o.Dir, ": getcwd: ", err.Error())
	case o.Dir != "":
		return directory{cwd + "/" + o.Dir, true}, nil
	case err != nil:
		r.line("warning: getcwd: ", err.Error(), ", starting in the home directory")
	}
	return directory{path: cwd}, nil
}

func getcwd() (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Getcwd(buf[:])
	if err != nil {
		return "", err
	}
	if n < 2 || buf[0] != '/' {
		return "", unix.ENOENT // outside of our root
	}
	return string(buf[:n-1]), nil
}

// userVariables are set by the daemon for the user that the shell runs as.
var userVariables = []string{"PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "SHELL"}

// foreignVariables belong to whatever service manager started the caller; a
// program that found them would believe that it is the service.
var foreignVariables = []string{
	"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MANAGERPID",
	"SYSTEMD_EXEC_PID", "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE",
	"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "CREDENTIALS_DIRECTORY",
	"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY",
	"CONFIGURATION_DIRECTORY", "REMOTE_ADDR", "REMOTE_PORT",
}

// environment is what the program gets of ours.
func environment(o *Options) []string {
	env := make([]string, 0, len(o.Environ)+len(o.SetEnv))
	for _, v := range o.Environ {
		name, _, ok := strings.Cut(v, "=")
		if ok && sends(o, name) && !setsAny(o.SetEnv, name) {
			env = append(env, v)
		}
	}
	for i, v := range o.SetEnv {
		name, _, _ := strings.Cut(v, "=")
		if !setsAny(o.SetEnv[i+1:], name) {
			env = append(env, v) // of several with one name the last counts
		}
	}
	return env
}

// named is how many variables at the end of env the user wants whoever the program
// runs as.
func named(o *Options, env []string) uint32 {
	n := 0
	for i, v := range o.SetEnv {
		if name, _, _ := strings.Cut(v, "="); !setsAny(o.SetEnv[i+1:], name) {
			n++
		}
	}
	if o.PreserveEnv {
		n = len(env)
	}
	return uint32(n)
}

func sends(o *Options, name string) bool {
	switch {
	case name == "PWD" && o.Dir != "":
		return false // it names our directory, not the one asked for
	case o.CleanEnv:
		return name == "TERM" || name == "COLORTERM" || name == "LANG" || strings.HasPrefix(name, "LC_")
	case slices.Contains(userVariables, name):
		return o.PreserveEnv
	}
	return !strings.HasPrefix(name, "LISTEN_") && !slices.Contains(foreignVariables, name)
}

// setsAny reports whether one of the assignments in list is to name.
func setsAny(list []string, name string) bool {
	for _, v := range list {
		if n, _, _ := strings.Cut(v, "="); n == name {
			return true
		}
	}
	return false
}
