package systemd

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// activate runs this binary in the role "serve one" under the real
// systemd-socket-activate and returns the path of its first socket.
func activate(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("NOT TESTED: needs systemd-socket-activate, which is not installed")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	args = append([]string{"-l", path, "-E", roleVariable + "=serve one"}, append(args, exe)...)
	cmd := exec.Command(program, args...)
	cmd.Stderr = &lineLog{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // with Accept=no it became the helper and may have ended
		_ = cmd.Wait()         // killed, so its status says nothing
	})
	return path
}

// lineLog shows what a helper writes only if the test fails.
type lineLog struct{ t *testing.T }

func (l *lineLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

// ask connects, waiting for the socket to appear, and returns the report of the
// process behind it.
func ask(t *testing.T, path string) finding {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			defer conn.Close()
			deadline, _ := ctx.Deadline()
			if err := conn.SetDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			var f finding
			if err := json.NewDecoder(conn).Decode(&f); err != nil {
				t.Fatal(err)
			}
			return f
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// G1: Accept=no with two named sockets.
func TestActivateListening(t *testing.T) {
	second := filepath.Join(t.TempDir(), "s")
	path := activate(t, "-l", second, "--fdname=public:admin")
	got := ask(t, path)
	want := finding{Sockets: []socketFinding{{3, "public", false, true}, {4, "admin", false, true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// G1: Accept=yes, one process for each connection.
func TestActivateAccepted(t *testing.T) {
	path := activate(t, "--accept")
	for range 3 {
		got := ask(t, path)
		if len(got.Sockets) != 1 || got.Error != "" || got.Left != nil {
			t.Fatalf("got %+v, want one socket", got)
		}
		if s := got.Sockets[0]; !s.Connected || !s.CloseOnExec || s.FD != 3 {
			t.Errorf("got %+v, want descriptor 3 connected", s)
		}
	}
}
