package systemd

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary play a daemon that systemd started.
const roleVariable = "SYSTEMD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "report": // as exec'd by a test, which cannot know the pid beforehand
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		report(os.Stdout)
	case "report as started":
		report(os.Stdout)
	case "serve one": // as started by systemd-socket-activate
		serveOne()
	case "notify without descriptors":
		notifyWithoutDescriptors()
	case "journal":
		fmt.Println(JournalStream())
	default:
		panic("unknown role " + role)
	}
}

// finding is what a helper saw of one socket, and of itself.
type finding struct {
	Sockets []socketFinding
	Error   string
	Left    []string // variables that Forget left behind
}

type socketFinding struct {
	FD          int
	Name        string
	Connected   bool
	CloseOnExec bool
}

// find collects what this process was passed.
func find() (finding, []Socket) {
	sockets, err := Sockets()
	Forget()
	var f finding
	if err != nil {
		f.Error = err.Error()
	}
	for _, s := range sockets {
		fd := int(s.File.Fd())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		f.Sockets = append(f.Sockets, socketFinding{fd, s.Name, s.Connected, err == nil && flags&unix.FD_CLOEXEC != 0})
	}
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_") || name == "NOTIFY_SOCKET" {
			f.Left = append(f.Left, name)
		}
	}
	return f, sockets
}

func report(to io.Writer) {
	f, _ := find()
	if err := json.NewEncoder(to).Encode(f); err != nil {
		panic(err)
	}
}

// serveOne answers one connection on the first socket with a report and ends.
func serveOne() {
	f, sockets := find()
	if len(sockets) == 0 {
		panic(fmt.Sprint("no socket: ", f.Error))
	}
	var conn net.Conn
	var err error
	if sockets[0].Connected {
		conn, err = net.FileConn(sockets[0].File)
	} else {
		var listener net.Listener
		if listener, err = net.FileListener(sockets[0].File); err == nil {
			conn, err = listener.Accept()
		}
	}
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(conn).Encode(f); err != nil {
		panic(err)
	}
	conn.Close()
}

func notifyWithoutDescriptors() {
	n, err := NewNotifier()
	if err != nil {
		panic(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 0}); err != nil {
		panic(err)
	}
	if _, err := unix.Dup(0); err != unix.EMFILE {
		panic(fmt.Sprint("descriptors are not short: ", err))
	}
	if err := n.Watchdog(); err != nil {
		panic(err)
	}
}

// helper returns the command that runs this binary in a role, with env added.
// It is killed if it takes absurdly long.
func helper(t *testing.T, role string, files []*os.File, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.ExtraFiles = files
	// The race detector otherwise keeps an ending program for a second.
	cmd.Env = append([]string{roleVariable + "=" + role, "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.Stderr = os.Stderr
	watchdog := time.AfterFunc(time.Minute, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // it may just have ended
		}
	})
	t.Cleanup(func() { watchdog.Stop() })
	return cmd
}

// reportOf runs a helper that reports and returns its report.
func reportOf(t *testing.T, role string, files []*os.File, env ...string) finding {
	t.Helper()
	out, err := helper(t, role, files, env...).Output()
	if err != nil {
		t.Fatalf("helper: %v", err)
	}
	var f finding
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("report %q: %v", out, err)
	}
	return f
}
