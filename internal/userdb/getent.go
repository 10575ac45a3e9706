package userdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxAnswer bounds what one run of getent may print. Only the list of all
// groups of a large site comes anywhere near.
const maxAnswer = 16 << 20

// getentNotFound is the exit status by which getent(1) says that it does not
// know the key.
const getentNotFound = 2

// ask returns what getent prints for key, never empty, or ErrUnknown.
func (db *DB) ask(database, key string) ([]byte, error) {
	out, err := db.remote.get(question{database, key}, db.getent)
	if err == nil && len(out) == 0 {
		kind := "user"
		if database == "group" {
			kind = "group"
		}
		return nil, unknown(kind, key)
	}
	return out, err
}

// askGroups returns the supplementary groups that getent knows for a user. The
// getent of musl cannot tell them for one user, so there the group list is
// searched.
func (db *DB) askGroups(name string) ([]uint32, error) {
	if !askable(name) {
		return nil, unknown("user", name)
	}
	out, err := db.ask("initgroups", name)
	if err == nil {
		return parseInitgroups(out, name), nil
	}
	all, listErr := db.remote.get(question{"group", ""}, db.getent)
	if listErr != nil {
		return nil, err
	}
	return parseGroup(all).members[name], nil
}

// askable reports whether a name can be handed to getent as an argument. What
// starts with "-" would be an option, and "--" in front of it is no help, since
// musl's getent takes that for a key. The other exclusions cannot be part of an
// entry at all.
func askable(name string) bool {
	return name != "" && name[0] != '-' && len(name) <= 256 &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ':' || unicode.IsControl(r) })
}

// getent runs getent(1) once. No output and no error means that it does not know
// the key, or that there is no getent to ask.
//
// The output decides, not the exit status: where the daemon is process 1 its
// reaper of orphans may collect this child first, and then Wait has nothing to
// report but ECHILD.
func (db *DB) getent(q question) ([]byte, error) {
	program, err := db.program()
	if err != nil {
		return nil, nil
	}
	timeout := db.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	args := []string{q.database}
	if q.key != "" {
		args = append(args, q.key)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"} // nothing of the daemon's own
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second // for a grandchild that keeps the pipe
	out := &limitedBuffer{}
	cmd.Stdout = out
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("getent %s %s: no answer within %v", q.database, q.key, timeout)
	case out.full:
		return nil, fmt.Errorf("getent %s %s: answer longer than %d bytes", q.database, q.key, maxAnswer)
	case out.Len() > 0 || notFound(err):
		return out.Bytes(), nil
	}
	return nil, fmt.Errorf("getent %s %s: %w", q.database, q.key, err)
}

// notFound reports whether a run of getent that printed nothing is an answer.
func notFound(err error) bool {
	var exit *exec.ExitError
	return err == nil || errors.Is(err, unix.ECHILD) ||
		errors.As(err, &exit) && exit.ExitCode() == getentNotFound
}

// program returns the getent to run. PATH is not consulted: a daemon may have
// been started with anybody's.
func (db *DB) program() (string, error) {
	if db.Getent != "" {
		return exec.LookPath(db.Getent)
	}
	for _, dir := range []string{"/usr/bin", "/bin", "/run/current-system/sw/bin"} {
		if path, err := exec.LookPath(dir + "/getent"); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// limitedBuffer collects up to maxAnswer bytes and then refuses more, which
// makes the writing program end.
type limitedBuffer struct {
	bytes.Buffer
	full bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxAnswer {
		b.full = true
		return 0, errors.New("too long")
	}
	return b.Buffer.Write(p)
}
