package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/userdb"
	"shellspawn/internal/wire"
)

// database makes a user database without files, whose getent is a script.
func database(t *testing.T, script string) *userdb.DB {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "getent")
	if script != "" {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	none := filepath.Join(dir, "none")
	return &userdb.DB{PasswdFile: none, GroupFile: none, SwitchFile: none, Getent: path, Timeout: spawntest.Deadline}
}

// E1: a user whom no source knows is a number. One whom a source may know that does not
// answer is refused, as he would get a wrong home, shell and groups.
func TestUserDatabaseFails(t *testing.T) {
	uid := os.Getuid()
	for _, c := range []struct {
		name, script string
		want         string // in the refusal; "" if there is a shell
	}{
		{"no getent", "", ""},
		{"unknown", "exit 2", ""},
		{"nothing said", "exit 0", ""},
		{"fails", "exit 1", fmt.Sprintf("user %d: getent passwd %d: exit status 1", uid, uid)},
		{"killed", "kill -KILL $$", fmt.Sprintf("user %d: getent passwd %d: signal: killed", uid, uid)},
		{"hangs", "exec sleep 1000", fmt.Sprintf("user %d: getent passwd %d: no answer within 500ms", uid, uid)},
		{"hangs with a child", "sleep 1000 & wait", "no answer within 500ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSubject(t)
			null := devNull(t)
			s.calm = openDescriptors(t)
			s.daemon.users = database(t, c.script)
			if strings.HasPrefix(c.name, "hangs") {
				s.daemon.users.Timeout = 500 * time.Millisecond
			}
			peer := s.connect(t)
			_, err := peer.ask(t, wire.KindStarted, (&fault{}).next(), null, null, null)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			var r *refusal
			if c.want != "" && (!errors.As(err, &r) || r.answer.Status != statusFailure || !strings.Contains(r.answer.Text, c.want)) {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
			peer.close()
			s.settle(t)
		})
	}
}

// Root who asks for somebody else, in either dialect, gets nobody in his place while a
// source does not answer.
func TestOtherUserWhileTheDatabaseFails(t *testing.T) {
	spawntest.NeedRoot(t)
	null := devNull(t)
	for _, c := range []struct{ name, script, want string }{
		{"user", "exit 1", `user "zoe": getent passwd zoe: exit status 1`},
		{"groups", `[ "$1" = passwd ] && echo zoe:x:4321:4321::/:/bin/sh && exit; exit 1`, `groups of "zoe": getent initgroups zoe: exit status 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, log := newSubject(t), &logText{}
			s.calm = openDescriptors(t)
			s.logTo(directLog(log, slog.LevelDebug, "text", false))
			s.daemon.users = database(t, c.script)
			start := &wire.Start{Argv: []string{"true"}, User: "zoe", Stdio: []byte{0, 1, 2}}
			peer := s.connect(t)
			if _, err := peer.ask(t, wire.KindStarted, opening(start), null, null, null); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
			peer.close()
			old := s.connect(t)
			if _, err := old.Write(wire.AppendLegacySetUIDGID(nil, 4321, 4321)); err != nil {
				t.Fatal(err)
			}
			if _, err := old.ask(t, wire.KindStarted, wire.AppendLegacyGo(nil), null, null, null); err == nil {
				t.Error("the old dialect has an answer")
			}
			old.wait(t)
			old.close()
			if strings.Count(log.String(), "msg=deny") != 2 || strings.Count(log.String(), ": exit status 1") != 2 {
				t.Errorf("the log:\n%s", log)
			}
			s.settle(t)
		})
	}
}
