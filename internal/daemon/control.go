package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"shellspawn/internal/wire"
)

// controls are the questions and orders about the daemon itself. Whoever is
// served may ask; what he sees and may do is each one's affair.
var controls = map[string]func(cn *conn, args []string) error{
	"status":  (*conn).controlStatus,
	"limits":  (*conn).controlLimits,
	"list":    (*conn).controlList,
	"kill":    (*conn).controlKill,
	"backlog": (*conn).controlBacklog,
	"stop":    (*conn).controlStop,
}

// control answers a question about the daemon.
func (cn *conn) control(payload []byte) error {
	c, err := wire.ParseControl(payload)
	if err != nil {
		return err
	}
	answer, ok := controls[c.Command]
	if !ok {
		return refuse("protocol", "control "+strconv.Quote(c.Command)+": unknown command",
			"this daemon is version "+cn.daemon.config.Version)
	}
	return answer(cn, c.Args)
}

// reply sends v, in pieces if it is long. Somebody who asks and does not read
// must not keep the connection for ever.
func (cn *conn) reply(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(cn.daemon.now().RequestTimeout)
	if err := cn.unix.SetWriteDeadline(deadline); err != nil {
		return err
	}
	for len(body) > 0 {
		n := min(len(body), wire.MaxReply)
		if err := send(cn.raw, wire.AppendReply(nil, body[:n])); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// operator says whether the peer may see and do everything: root, and the user
// that the daemon runs as, who could do it by other means as well.
func (cn *conn) operator() bool { return cn.cred.UID == 0 || cn.cred.UID == cn.daemon.euid }

func (cn *conn) mustOperate(command string) error {
	if cn.operator() {
		return nil
	}
	return refuse("permission", command+": only root and the user of the daemon may do this", "")
}

// owns says whether the shell is the peer's business.
func (cn *conn) owns(s *shell) bool { return cn.operator() || s.user.UID == cn.cred.UID }

// maxKills bounds what one request can have done, and logged.
const maxKills = 4096

// controlKill hangs shells up, or sends them a signal. The arguments are the
// number of the signal, empty for a hang-up, and the ids.
func (cn *conn) controlKill(args []string) error {
	if len(args) < 2 {
		return wire.ErrProtocol
	}
	signal, err := parseSignal(args[0])
	if err != nil {
		return err
	}
	if len(args) > maxKills {
		return refuse("protocol", "kill: more than "+strconv.Itoa(maxKills)+" shells at once", "")
	}
	results := make([]wire.Killed, 0, len(args)-1)
	for i, arg := range args[1:] {
		if slices.Contains(args[1:i+1], arg) {
			continue // one signal, and one line of the log, for each
		}
		id, err := strconv.ParseUint(arg, 10, 32)
		if err != nil {
			return wire.ErrProtocol
		}
		k := wire.Killed{ID: uint32(id)}
		if err := cn.killOne(uint32(id), signal); err != nil {
			k.Error = err.Error()
		}
		results = append(results, k)
	}
	return cn.reply(results)
}

// parseSignal returns 0 for a hang-up.
func parseSignal(text string) (syscall.Signal, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n == 0 || n > 64 {
		return 0, refuse("protocol", "kill: signal "+strconv.Quote(text)+": not a number from 1 to 64", "")
	}
	return syscall.Signal(n), nil
}

// killOne answers the same for a shell of somebody else as for none, so that
// nobody learns what others run.
func (cn *conn) killOne(id uint32, signal syscall.Signal) error {
	s := cn.daemon.shell(id)
	if s == nil || !cn.owns(s) {
		return errors.New("no such shell")
	}
	cn.daemon.log.Info("kill", "conn", id, "signal", int(signal), "uid", cn.cred.UID, "by", cn.cred.PID)
	if signal == 0 {
		s.hangUp(causeKilled, cn.daemon.now().HangupGrace)
		return nil
	}
	err := s.process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		return errors.New("it has ended")
	}
	return err
}

// controlBacklog shows the backlog of the socket that was asked through, or
// changes it.
func (cn *conn) controlBacklog(args []string) error {
	l := cn.listener()
	if l == nil {
		return refuse("control", "backlog: this daemon has one connection and no socket", "")
	}
	if len(args) == 0 {
		return cn.reply(backlogOf(l))
	}
	if err := cn.mustOperate("backlog"); err != nil {
		return err
	}
	n, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || n < 1 {
		return refuse("protocol", "backlog "+strconv.Quote(args[0])+": not a number from 1 on", "")
	}
	if err := l.SetBacklog(int(n)); err != nil {
		return refuse("control", err.Error(), "")
	}
	b := backlogOf(l)
	cn.daemon.log.Info("backlog", "path", l.Path(), "backlog", b.Asked, "effective", b.Effective,
		"somaxconn", b.Somaxconn, "uid", cn.cred.UID, "by", cn.cred.PID)
	return cn.reply(b)
}
