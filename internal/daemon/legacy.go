package daemon

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
)

// legacyRequest reads a request of the old dialect up to GO and starts the
// shell. The old dialect has no way to say why not: the connection closes, but for a
// program that cannot be executed, which has a status.
func (cn *conn) legacyRequest(ctx context.Context) (*shell, error) {
	s, err := cn.legacyStart(ctx)
	if err == nil {
		return s, nil
	}
	r := cn.daemon.asRefusal(err)
	if r == nil {
		return nil, err
	}
	cn.deny(r)
	if r.answer.Status != statusFailure {
		_ = send(cn.raw, wire.AppendLegacyStatus(nil, int32(r.answer.Status))) // the client may be gone
	}
	return nil, nil
}

func (cn *conn) legacyStart(ctx context.Context) (*shell, error) {
	if err := cn.admit(ctx); err != nil {
		return nil, err
	}
	req, err := cn.readLegacy()
	if err != nil {
		return nil, err
	}
	cn.daemon.server.Asked(cn.unix)
	if err := cn.takeTurn(ctx); err != nil {
		return nil, err
	}
	fds := cn.reader.TakeDescriptors()
	defer interruptibly(func() { wire.CloseAll(fds) }) // the program has its own copies, or there is none
	if err := cn.judge(fds, []byte{0, 1, 2}); err != nil {
		return nil, err
	}
	who, err := cn.legacyIdentity(req)
	if err != nil {
		return nil, err
	}
	return cn.spawn(ctx, cn.legacySpec(req, fds, who), who)
}

// readLegacy collects commands up to GO. Unknown ones are skipped, which is what
// lets a newer client greet an older daemon.
func (cn *conn) readLegacy() (*wire.LegacyRequest, error) {
	req := &wire.LegacyRequest{}
	for {
		command, payload, err := cn.reader.Legacy()
		if err != nil {
			return nil, err
		}
		if command == wire.LegacyGo {
			return req, nil
		}
		if err := req.Apply(command, payload); err != nil {
			return nil, err
		}
	}
}

// legacyIdentity honours SETUIDGID where it is the peer's own identity, or where
// the peer is root and this daemon can become somebody else.
func (cn *conn) legacyIdentity(req *wire.LegacyRequest) (identity, error) {
	d := cn.daemon
	if !req.HasID || req.UID == cn.cred.UID && req.GID == cn.cred.GID {
		return cn.identity("")
	}
	if cn.cred.UID != 0 || d.euid != 0 {
		return identity{}, refuse("identity", "SETUIDGID "+strconv.FormatUint(uint64(req.UID), 10)+
			" "+strconv.FormatUint(uint64(req.GID), 10)+": not the peer's own identity", "")
	}
	u, err := d.userOf(req.UID)
	if err != nil {
		return identity{}, err
	}
	var groups []uint32 // a user whom nobody knows has none
	if u.GID != noID {
		if groups, err = d.users.Groups(u); err != nil {
			return identity{}, unknownUser("groups of "+strconv.Quote(u.Name), err)
		}
	}
	if !slices.Contains(groups, req.GID) {
		groups = append(groups, req.GID)
	}
	return d.become(u, req.GID, groups)
}

// legacySpec: without SETEXEC a login shell with the arguments, otherwise just
// what was sent. A working directory that cannot be entered is ignored.
func (cn *conn) legacySpec(req *wire.LegacyRequest, fds []int, who identity) ptyexec.Spec {
	umask := 0o022 // the old dialect has none to send, and the daemon's is not meant
	spec := ptyexec.Spec{
		Program: req.Exec, Args: req.Args, Env: environment(req.Env, who.user),
		Dir: req.Dir, Fallback: []string{who.user.Home, "/"},
		Stdio: &[3]int{fds[0], fds[1], fds[2]}, AdoptTerminal: true, Credential: who.credential,
		Umask: &umask,
	}
	if spec.Dir == "" {
		spec.Dir = who.user.Home
	}
	if req.Exec == "" {
		spec.Program = "/bin/bash"
		if shell := cn.daemon.now().Shell; shell != "" {
			spec.Program = shell
		}
		spec.Args = append([]string{spec.Program, "--login"}, req.Args...)
	}
	return spec
}

// legacyMessage reads and carries out one command after GO; EAGAIN if there is
// none. A client that breaks the rules there gets no status and its shell no
// grace, as with the original daemon.
func (s *shell) legacyMessage() error {
	command, payload, err := s.reader.Legacy()
	var number uint32
	if err == nil {
		number, err = wire.ParseLegacySignal(command, payload)
	}
	if errors.Is(err, wire.ErrProtocol) || errors.Is(err, wire.ErrTooLarge) {
		_ = s.conn.CloseWrite() // the client may be gone as well
		s.hangUp(causeHungUp, 0)
	}
	if err != nil {
		return err
	}
	_ = s.signal(number) // the old dialect has no answer
	return nil
}
