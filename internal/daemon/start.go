package daemon

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/userdb"
	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
)

// modernRequest reads a request of the new dialect and carries it out. The shell
// is nil if there is none to wait for: a refusal has been answered and logged.
func (cn *conn) modernRequest(ctx context.Context, hello wire.Hello) (*shell, error) {
	s, err := cn.modernStart(ctx, hello)
	if err == nil {
		return s, nil
	}
	r := cn.daemon.asRefusal(err)
	if r == nil {
		return nil, err
	}
	cn.deny(r)
	_ = send(cn.raw, wire.AppendError(nil, r.answer)) // the client may be gone
	return nil, nil
}

// deny counts and logs a refusal.
func (cn *conn) deny(r *refusal) {
	cn.daemon.countRefused(r.cause)
	level := slog.LevelInfo
	if r.noise {
		level = slog.LevelDebug
	}
	cn.daemon.log.Log(context.Background(), level, "deny", "conn", cn.id, "uid", cn.cred.UID, "pid", cn.cred.PID, "cause", r.answer.Text)
}

// modernStart: who connects is judged before what is asked for is read.
func (cn *conn) modernStart(ctx context.Context, hello wire.Hello) (*shell, error) {
	if hello.Version != wire.Version {
		return nil, versionRefusal(hello.Version)
	}
	cn.daemon.noteWaited(hello.WaitedMillis)
	if err := cn.admit(ctx); err != nil {
		return nil, err
	}
	kind, payload, err := cn.reader.Message()
	if err != nil {
		return nil, err
	}
	cn.daemon.server.Asked(cn.unix)
	if kind != wire.KindControl || cn.reader.Descriptors() > 0 {
		if err := cn.takeTurn(ctx); err != nil {
			return nil, err
		}
	}
	switch kind {
	case wire.KindControl:
		if err := cn.noDescriptors(); err != nil {
			return nil, err
		}
		return nil, cn.control(payload)
	case wire.KindStart:
		return cn.startShell(ctx, payload)
	}
	return nil, wire.ErrProtocol
}

// startShell starts what the request asks for and tells the client.
func (cn *conn) startShell(ctx context.Context, payload []byte) (*shell, error) {
	req, err := wire.ParseStart(payload)
	if err != nil {
		return nil, err
	}
	fds := cn.reader.TakeDescriptors()
	defer interruptibly(func() { wire.CloseAll(fds) }) // the program has its own copies, or there is none
	if err := cn.judge(fds, req.Stdio); err != nil {
		return nil, err
	}
	who, err := cn.identity(req.User)
	if err != nil {
		return nil, err
	}
	spec := cn.spec(req, fds, who)
	s, err := cn.spawn(ctx, spec, who)
	if !req.DirRequired && failedAt(err, "chdir") {
		elsewhere(&spec, who.user)
		s, err = cn.spawn(ctx, spec, who)
	}
	if err != nil {
		return nil, err
	}
	cn.answerStarted(s, req)
	return s, nil
}

// spawn starts the program. The place that it takes is given back if there is no
// shell in the end, also if a bug is the reason.
func (cn *conn) spawn(ctx context.Context, spec ptyexec.Spec, who identity) (*shell, error) {
	d := cn.daemon
	if err := d.acquire(who.user.UID); err != nil {
		return nil, err
	}
	defer func() {
		if cn.shell == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.release(who.user.UID)
		}
	}()
	process, err := ptyexec.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	cn.shell = &shell{
		daemon: d, id: cn.id, conn: cn.unix, raw: cn.raw, client: cn.cred,
		user: who.user, program: spec.Program, started: time.Now(), process: process,
		legacy: cn.legacy, reader: cn.reader, key: cn.key,
	}
	d.register(cn.shell)
	return cn.shell, nil
}

// elsewhere is for a directory that cannot be entered and was not asked for. PWD
// would name one in which the program is not.
func elsewhere(spec *ptyexec.Spec, u userdb.User) {
	spec.Dir, spec.Fallback = u.Home, []string{"/"}
	spec.Env = slices.DeleteFunc(spec.Env, func(v string) bool { return strings.HasPrefix(v, "PWD=") })
}

// logStart comes after the answer: nobody has to wait for a line of log.
func (s *shell) logStart() {
	s.log("start", slog.String("tty", s.process.TTY()), slog.String("program", shortName(s.program)))
}

// answerStarted sends the pid and the master of the pty, which is the client's
// alone from then on.
func (cn *conn) answerStarted(s *shell, req *wire.Start) {
	m := wire.Started{PID: uint32(s.process.PID()), ID: s.id}
	if dir := s.process.Dir(); req.Dir != "" && dir != req.Dir {
		m.Warning = clip("cannot enter "+req.Dir) + ", started in " + dir
	}
	var fds []int
	if master := s.process.TakeMaster(); master >= 0 {
		fds = []int{master}
		defer wire.CloseAll(fds)
	}
	_ = send(cn.raw, wire.AppendStarted(nil, m), fds...) // a client that is gone is noticed by the watcher
}

// spec translates a request.
func (cn *conn) spec(req *wire.Start, fds []int, who identity) ptyexec.Spec {
	umask := int(req.Umask & 0o777)
	stdio := [3]int{-1, -1, -1}
	for i, n := range req.Stdio {
		stdio[n] = fds[i]
	}
	spec := ptyexec.Spec{
		Args: req.Argv, Env: environment(cn.theirs(req, who.user), who.user), Dir: req.Dir,
		Umask: &umask, Stdio: &stdio, Credential: who.credential,
	}
	if spec.Dir == "" {
		elsewhere(&spec, who.user)
	}
	if req.Terminal != nil {
		spec.Terminal = cn.daemon.terminal(req.Terminal)
	}
	if req.Shell {
		cn.daemon.useShell(&spec, req, who.user)
	} else {
		spec.Program = req.Argv[0]
	}
	return spec
}

// useShell makes the shell the program. The leading dash of a login shell's name
// is how login(1) tells it.
func (d *Daemon) useShell(spec *ptyexec.Spec, req *wire.Start, u userdb.User) {
	spec.Program = u.Shell
	if shell := d.now().Shell; shell != "" {
		spec.Program = shell
	}
	if req.ShellPath != "" {
		spec.Program = req.ShellPath
	}
	name := spec.Program
	if req.Login {
		name = "-" + shortName(spec.Program)
	}
	spec.Args = append([]string{name}, req.Argv...)
}

func (d *Daemon) terminal(t *wire.Terminal) *ptyexec.Terminal {
	pty := &ptyexec.Terminal{
		Size:  unix.Winsize{Row: t.Rows, Col: t.Cols, Xpixel: t.XPixels, Ypixel: t.YPixels},
		Group: d.ttyGID,
	}
	if len(t.Settings) > 0 {
		var s unix.Termios
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s)), t.Settings)
		pty.Settings = &s
	}
	return pty
}

// sessionVariables lead to what only the caller's own session may use: sockets,
// credentials, a mailbox, directories of his.
var sessionVariables = []string{
	"XDG_RUNTIME_DIR", "XDG_SEAT", "XDG_VTNR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
	"XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS", "WAYLAND_DISPLAY", "XAUTHORITY", "ICEAUTHORITY",
	"SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "MAIL",
}

// theirs is what the client sent. Of the caller's session nothing reaches another user,
// unless it was asked for.
func (cn *conn) theirs(req *wire.Start, u userdb.User) []string {
	if u.UID == cn.cred.UID {
		return req.Env
	}
	inherited := len(req.Env) - int(min(uint64(req.Named), uint64(len(req.Env))))
	env := slices.DeleteFunc(slices.Clone(req.Env[:inherited]), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(sessionVariables, name) || strings.HasPrefix(name, "XDG_SESSION_")
	})
	return append(env, req.Env[inherited:]...)
}

// environment is the client's, completed by what describes the user. The
// daemon's own never reaches a shell.
func environment(env []string, u userdb.User) []string {
	path := "/usr/local/bin:/usr/bin:/bin"
	if u.UID == 0 {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	missing := map[string]string{
		"PATH": path, "HOME": u.Home, "TMPDIR": "/tmp",
		"USER": u.Name, "LOGNAME": u.Name, "SHELL": u.Shell,
	}
	for _, v := range env {
		if name, _, ok := strings.Cut(v, "="); ok {
			delete(missing, name)
		}
	}
	for name, value := range missing {
		env = append(env, name+"="+value)
	}
	return env
}
