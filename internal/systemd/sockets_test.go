package systemd

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// socketFile returns a new socket as a file, as systemd would hold it.
func socketFile(t *testing.T, domain, kind int) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	return f
}

// listening returns a listening Unix socket of that kind.
func listening(t *testing.T, kind int) *os.File {
	t.Helper()
	f := socketFile(t, unix.AF_UNIX, kind)
	path := filepath.Join(t.TempDir(), "s")
	if err := unix.Bind(int(f.Fd()), &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(int(f.Fd()), 1); err != nil {
		t.Fatal(err)
	}
	return f
}

// connected returns one end of a connection.
func connected(t *testing.T) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, other := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
	t.Cleanup(func() { f.Close(); other.Close() })
	return f
}

// G1: several sockets, each under its name, in order, and no variable left.
func TestSeveralSockets(t *testing.T) {
	got := reportOf(t, "report",
		[]*os.File{listening(t, unix.SOCK_STREAM), listening(t, unix.SOCK_STREAM), connected(t)},
		"LISTEN_FDS=3", "LISTEN_FDNAMES=public:admin:connection",
		"NOTIFY_SOCKET=/nowhere", "WATCHDOG_USEC=1", "WATCHDOG_PID=1", "LISTEN_PIDFDID=7")
	want := finding{Sockets: []socketFinding{
		{3, "public", false, true}, {4, "admin", false, true}, {5, "connection", true, true},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnnamedSockets(t *testing.T) {
	got := reportOf(t, "report", []*os.File{listening(t, unix.SOCK_STREAM), connected(t)}, "LISTEN_FDS=2")
	want := finding{Sockets: []socketFinding{{3, "unknown", false, true}, {4, "unknown", true, true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// G1: descriptors that were passed to another process are none of ours.
func TestForeignPID(t *testing.T) {
	got := reportOf(t, "report as started", []*os.File{listening(t, unix.SOCK_STREAM)}, "LISTEN_FDS=1", "LISTEN_PID=1")
	if got.Sockets != nil || got.Error != "" || got.Left != nil {
		t.Errorf("got %+v, want nothing", got)
	}
}

// What is not a Unix stream socket is refused by number, name and kind.
func TestWrongKinds(t *testing.T) {
	plain, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	pipe, pipeEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer pipeEnd.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()

	for _, tc := range []struct {
		name string
		file *os.File
		want string
	}{
		{"file", plain, "not a socket"},
		{"pipe", pipe, "not a socket"},
		{"TCP", tcpFile, "not a Unix socket (address family 2)"},
		{"datagram", socketFile(t, unix.AF_UNIX, unix.SOCK_DGRAM), "a datagram socket, not a stream socket"},
		{"sequential", listening(t, unix.SOCK_SEQPACKET), "a sequential-packet socket, not a stream socket"},
		{"neither", socketFile(t, unix.AF_UNIX, unix.SOCK_STREAM), "a socket that is neither listening nor connected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := reportOf(t, "report", []*os.File{listening(t, unix.SOCK_STREAM), tc.file},
				"LISTEN_FDS=2", "LISTEN_FDNAMES=good:bad")
			if want := "passed descriptor 4 (bad): " + tc.want; got.Error != want || got.Sockets != nil {
				t.Errorf("got %+v, want the error %q", got, want)
			}
		})
	}
}

func TestMalformedVariables(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		want string // part of the error; "" for none
	}{
		{"nothing passed", nil, ""},
		{"count without pid", map[string]string{"LISTEN_FDS": "1"}, ""},
		{"pid without count", map[string]string{"LISTEN_PID": "77"}, ""},
		{"count of zero", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "0"}, ""},
		{"foreign pid, bad count", map[string]string{"LISTEN_PID": "78", "LISTEN_FDS": "x"}, ""},
		{"pid is no number", map[string]string{"LISTEN_PID": "x", "LISTEN_FDS": "1"}, `LISTEN_PID "x"`},
		{"count is no number", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "1x"}, `LISTEN_FDS "1x"`},
		{"negative count", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "-1"}, `LISTEN_FDS "-1"`},
		{"huge count", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "2000000000"}, `LISTEN_FDS "2000000000"`},
		{"more descriptors than open", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "900"}, "passed descriptor"},
		{"too few names", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "1 names for 2 descriptors"},
		{"too many names", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "2 names for 1 descriptors"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := edge{getenv: func(name string) string { return tc.env[name] }, getpid: func() int { return 77 }}
			sockets, err := e.sockets()
			if sockets != nil {
				t.Errorf("got sockets %v", sockets)
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}
