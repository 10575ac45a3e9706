package userdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode"

	"shellspawn/ptyexec"
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
func (db *DB) getent(q question) ([]byte, error) {
	program, err := db.program()
	if err != nil {
		return nil, nil
	}
	timeout := db.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	out, status, err := run(program, q, timeout)
	switch {
	case err != nil:
		return nil, fmt.Errorf("getent %s %s: %w", q.database, q.key, err)
	case len(out) > 0 || status.Code() == 0 || status.Code() == getentNotFound:
		return out, nil
	}
	return nil, fmt.Errorf("getent %s %s: %s", q.database, q.key, status)
}

// lingering is how long a grandchild that keeps the pipe is listened to after
// getent has ended, and how long a killed getent may take to go.
const lingering = time.Second

// run runs getent with nothing of this process's own: no variable, no descriptor but the
// pipe for its output, and in a session of its own. It goes through ptyexec so that a
// process that reaps orphans, as process 1 does, leaves the status to us.
func run(program string, q question, limit time.Duration) ([]byte, ptyexec.ExitStatus, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p, err := ptyexec.Start(ctx, ptyexec.Spec{
		Program: program, Args: arguments(q), Dir: "/",
		Env:   []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Stdio: &[3]int{-1, int(w.Fd()), -1},
	})
	_ = w.Close() // getent has its own, and without it there is an end to read
	if err != nil {
		return nil, 0, err
	}
	return collect(ctx, p, r, limit)
}

func arguments(q question) []string {
	args := []string{"getent", q.database}
	if q.key != "" {
		args = append(args, q.key)
	}
	return args
}

// collect reads what getent prints until it has ended or ctx has. One that cannot even
// be killed is left to the goroutine that waits for it.
func collect(ctx context.Context, p *ptyexec.Process, r *os.File, limit time.Duration) ([]byte, ptyexec.ExitStatus, error) {
	var status ptyexec.ExitStatus
	var lost error
	ended := make(chan struct{})
	go func() {
		status, lost = p.Wait()
		_ = r.SetReadDeadline(time.Now().Add(lingering)) // the reader may be gone
		close(ended)
	}()
	late := context.AfterFunc(ctx, func() {
		_ = p.Kill()                                     // it may have ended
		_ = r.SetReadDeadline(time.Now().Add(lingering)) // as above
	})
	defer late()
	out, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	switch {
	case len(out) > maxAnswer:
		_ = p.Kill() // it goes on writing
		return nil, 0, fmt.Errorf("answer longer than %d bytes", maxAnswer)
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return nil, 0, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil, 0, fmt.Errorf("no answer within %v", limit)
	}
	return out, status, lost
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
