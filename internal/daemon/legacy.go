package daemon

import (
	"context"
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
	if err := cn.daemon.policy.admit(cn.cred); err != nil {
		return nil, err
	}
	req, err := cn.readLegacy()
	if err != nil {
		return nil, err
	}
	cn.daemon.server.Asked(cn.unix)
	fds := cn.reader.TakeDescriptors()
	defer wire.CloseAll(fds) // the program has its own copies, or there is none
	if err := judge(fds, []byte{0, 1, 2}); err != nil {
		return nil, err
	}
	who, err := cn.legacyIdentity(req)
	if err != nil {
		return nil, err
	}
	if err := cn.daemon.acquire(who.user.UID); err != nil {
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
	who, err := cn.identity("")
	if err != nil || !req.HasID || req.UID == cn.cred.UID && req.GID == cn.cred.GID {
		return who, err
	}
	if cn.cred.UID != 0 || cn.daemon.euid != 0 {
		return identity{}, refuse("identity", "SETUIDGID "+strconv.Itoa(int(req.UID))+": not the peer's own identity", "")
	}
	// To setresuid(2) this number means "leave it as it is".
	if none := ^uint32(0); req.UID == none || req.GID == none {
		return identity{}, refuse("identity", "SETUIDGID: no such identity", "")
	}
	u := cn.daemon.userOf(req.UID)
	groups, err := cn.daemon.users.Groups(u)
	if err != nil {
		groups = []uint32{req.GID}
	}
	return identity{u, &ptyexec.Credential{UID: req.UID, GID: req.GID, Groups: groups}}, nil
}

// legacySpec: without SETEXEC a login shell with the arguments, otherwise just
// what was sent. A working directory that cannot be entered is ignored.
func (cn *conn) legacySpec(req *wire.LegacyRequest, fds []int, who identity) ptyexec.Spec {
	spec := ptyexec.Spec{
		Program: req.Exec, Args: req.Args, Env: environment(req.Env, who.user),
		Dir: req.Dir, Fallback: []string{who.user.Home, "/"},
		Stdio: &[3]int{fds[0], fds[1], fds[2]}, AdoptTerminal: true, Credential: who.credential,
	}
	if spec.Dir == "" {
		spec.Dir = who.user.Home
	}
	if req.Exec == "" {
		spec.Program = "/bin/bash"
		if cn.daemon.config.Shell != "" {
			spec.Program = cn.daemon.config.Shell
		}
		spec.Args = append([]string{spec.Program, "--login"}, req.Args...)
	}
	return spec
}
