package wire_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// pair is a connected pair of stream sockets; both are closed after the test.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wire.CloseAll(fds[:]) })
	return fds[0], fds[1]
}

// hangUp is the end of the stream for the other side. The descriptor stays, so
// that nothing else can get its number.
func hangUp(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }

// files are n different open files that the test owns.
func files(t *testing.T, n int) (fds []int) {
	t.Helper()
	for range n {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

// openFiles counts the open descriptors of the test.
func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func sameFile(t *testing.T, a, b int) bool {
	t.Helper()
	var x, y unix.Stat_t
	if err := errors.Join(unix.Fstat(a, &x), unix.Fstat(b, &y)); err != nil {
		t.Fatal(err)
	}
	return x.Dev == y.Dev && x.Ino == y.Ino
}

// received reads the whole request at one end of a pair whose other end is
// closed, and says what became of it.
func received(b int) (kind wire.Kind, fds []int, err error) {
	r := wire.NewReader(wire.RecvFD(b, 0), nil)
	defer r.Close()
	if _, _, err = r.Opening(); err != nil {
		return 0, nil, err
	}
	if kind, _, err = r.Message(); err != nil {
		return 0, nil, err
	}
	return kind, r.TakeDescriptors(), nil
}

// A request and its descriptors arrive together, in their order and with
// close-on-exec set, in however small pieces they are read. E2
func TestSend(t *testing.T) {
	a, b := pair(t)
	sent := files(t, 3)
	request := wire.AppendStart(nil, wire.Hello{Version: 1}, &wire.Start{Argv: []string{"true"}, Stdio: onPipe})
	if err := wire.Send(a, request, sent...); err != nil {
		t.Fatal(err)
	}
	hangUp(a)
	kind, fds, err := received(b)
	defer wire.CloseAll(fds)
	if err != nil || kind != wire.KindStart || len(fds) != 3 {
		t.Fatalf("kind %#x, descriptors %v, %v", kind, fds, err)
	}
	for i, fd := range fds {
		if !sameFile(t, fd, sent[i]) {
			t.Errorf("descriptor %d is another file", i)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d: flags %#x, %v; want close-on-exec", i, flags, err)
		}
	}
}

// A request far longer than the socket holds arrives whole while it is read.
func TestSendLong(t *testing.T) {
	a, b := pair(t)
	s := &wire.Start{Argv: []string{string(bytes.Repeat([]byte("x"), 4<<20))}, Stdio: []byte{1}}
	sent := make(chan error, 1)
	go func() { sent <- wire.Send(a, wire.AppendStart(nil, wire.Hello{Version: 1}, s), 1) }()
	kind, fds, err := received(b)
	wire.CloseAll(fds)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err != nil || kind != wire.KindStart || len(fds) != 1 {
		t.Errorf("kind %#x, %d descriptors, %v", kind, len(fds), err)
	}
}

// rawSend sends bytes with control messages of the test's own making.
func rawSend(t *testing.T, fd int, b, oob []byte) {
	t.Helper()
	if err := unix.Sendmsg(fd, b, oob, nil, 0); err != nil {
		t.Fatal(err)
	}
}

// Too many descriptors, cut control data and control data of another kind end
// the connection, and whatever did arrive is closed. E2
func TestDescriptorsRefused(t *testing.T) {
	request := wire.AppendStart(nil, wire.Hello{Version: 1}, &wire.Start{Argv: []string{"true"}, Stdio: onPipe})
	for name, send := range map[string]func(t *testing.T, a, b int){
		"four at once":        func(t *testing.T, a, _ int) { rawSend(t, a, request, unix.UnixRights(files(t, 4)...)) },
		"more than fit":       func(t *testing.T, a, _ int) { rawSend(t, a, request, unix.UnixRights(files(t, 100)...)) },
		"two and then two":    func(t *testing.T, a, _ int) { twice(t, a, request) },
		"four, one by one":    func(t *testing.T, a, _ int) { oneEach(t, a, request, 4) },
		"credentials as well": func(t *testing.T, a, b int) { withCredentials(t, a, b, request) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			send(t, a, b)
			hangUp(a)
			before := openFiles(t)
			kind, fds, err := received(b)
			if !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("kind %#x, descriptors %v, %v", kind, fds, err)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func twice(t *testing.T, a int, request []byte) {
	rawSend(t, a, request[:10], unix.UnixRights(files(t, 2)...))
	rawSend(t, a, request[10:], unix.UnixRights(files(t, 2)...))
}

func oneEach(t *testing.T, a int, request []byte, n int) {
	for i := range n {
		rawSend(t, a, request[i:i+1], unix.UnixRights(files(t, 1)...))
	}
	rawSend(t, a, request[n:], nil)
}

// A receiver that may have no more descriptors is told so: it is not the
// sender's fault. D3
func TestNoDescriptorLeft(t *testing.T) {
	a, b := pair(t)
	rawSend(t, a, []byte("x"), unix.UnixRights(files(t, 3)...))
	before := openFiles(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.FcntlInt(uintptr(b), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(next) // the lowest number that is free, and now the limit
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next), Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, fds, err := wire.RecvNow(b, make([]byte, 1))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	wire.CloseAll(fds)
	if err != unix.EMFILE {
		t.Errorf("%d descriptors, %v; want EMFILE", len(fds), err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// withCredentials sends SCM_CREDENTIALS, which arrive where they are asked for.
func withCredentials(t *testing.T, a, b int, request []byte) {
	if err := unix.SetsockoptInt(b, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	rawSend(t, a, request, unix.UnixRights(files(t, 1)...))
}

// What nobody takes is closed with the reader, also in the middle of a message.
func TestReaderClose(t *testing.T) {
	a, b := pair(t)
	rawSend(t, a, []byte{0, 1, 12}, unix.UnixRights(files(t, 3)...))
	hangUp(a)
	before := openFiles(t)
	r := wire.NewReader(wire.RecvFD(b, 0), nil)
	if _, _, err := r.Opening(); err != io.ErrUnexpectedEOF {
		t.Errorf("opening: %v", err)
	}
	if n := openFiles(t); n != before+3 {
		t.Errorf("%d descriptors open, want %d", n, before+3)
	}
	r.Close()
	if n := openFiles(t); n != before {
		t.Errorf("%d descriptors open after Close, want %d", n, before)
	}
}

// RecvNow and a RecvFD with MSG_DONTWAIT do not wait.
func TestRecvNow(t *testing.T) {
	a, b := pair(t)
	for name, recv := range map[string]wire.Recv{
		"RecvNow": func(p []byte) (int, []int, error) { return wire.RecvNow(b, p) },
		"RecvFD":  wire.RecvFD(b, unix.MSG_DONTWAIT),
	} {
		if n, fds, err := recv(make([]byte, 10)); n != 0 || fds != nil || err != unix.EAGAIN {
			t.Errorf("%s: %d, %v, %v, want EAGAIN", name, n, fds, err)
		}
	}
	hangUp(a)
	if n, _, err := wire.RecvNow(b, make([]byte, 10)); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// Where no descriptor belongs none becomes ours, and what came with it is
// refused. E2
func TestRecvBare(t *testing.T) {
	a, b := pair(t)
	rawSend(t, a, []byte("plain"), nil)
	buf := make([]byte, 10)
	if n, err := wire.RecvBare(b, buf); n != 5 || err != nil {
		t.Errorf("plain bytes: %d, %v", n, err)
	}
	if _, err := wire.RecvBare(b, buf); err != unix.EAGAIN {
		t.Errorf("nothing there: %v, want EAGAIN", err)
	}
	before := openFiles(t)
	for _, n := range []int{1, 3, 200} {
		rawSend(t, a, []byte("more"), unix.UnixRights(slices.Repeat([]int{a}, n)...))
		if _, err := wire.RecvBare(b, buf); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%d descriptors: %v", n, err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	hangUp(a)
	if n, err := wire.RecvBare(b, buf); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// Nobody there is an error and no signal.
func TestSendToNobody(t *testing.T) {
	a, b := pair(t)
	hangUp(b)
	if err := wire.Send(a, []byte("x"), files(t, 1)...); err != unix.EPIPE {
		t.Errorf("%v, want EPIPE", err)
	}
}

// RecvPlain takes bytes that come alone, whatever is there before and after them, and leaves
// descriptors where they are, also those that come out of band.
func TestRecvPlain(t *testing.T) {
	file := files(t, 1)
	bytesOf := func(a int, b string) error { return wire.Send(a, []byte(b)) }
	rights := func(a int, b string) error { return wire.Send(a, []byte(b), file...) }
	urgent := func(a int, b string) error {
		_, err := unix.SendmsgN(a, []byte(b), unix.UnixRights(file...), nil, unix.MSG_OOB)
		return err
	}
	for _, c := range []struct {
		name  string
		send  []func(a int, b string) error
		want  string
		plain bool
		err   error
	}{
		{"nothing", nil, "", true, unix.EAGAIN},
		{"bytes", []func(int, string) error{bytesOf}, "0", true, nil},
		{"bytes twice", []func(int, string) error{bytesOf, bytesOf}, "01", true, nil},
		{"descriptors", []func(int, string) error{rights}, "", false, nil},
		{"bytes, then descriptors", []func(int, string) error{bytesOf, rights}, "", false, nil},
		{"descriptors, then bytes", []func(int, string) error{rights, bytesOf}, "", false, nil},
		{"out of band", []func(int, string) error{urgent}, "", false, nil},
		{"out of band, then bytes", []func(int, string) error{urgent, bytesOf}, "", false, nil},
		{"bytes, then out of band", []func(int, string) error{bytesOf, urgent}, "", false, nil},
		{"more than fits", []func(int, string) error{bytesOf, bytesOf, bytesOf, bytesOf, bytesOf}, "", false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t)
			for i, send := range c.send {
				if err := send(a, string(rune('0'+i))); err == unix.EOPNOTSUPP {
					t.Log("this kernel knows nothing out of band")
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
			before, _ := unix.IoctlGetInt(b, unix.TIOCINQ) // it cannot fail on a socket
			p := make([]byte, 4)
			n, plain, err := wire.RecvPlain(b, p)
			if string(p[:n]) != c.want || plain != c.plain || err != c.err {
				t.Errorf("%q, plain %v, %v; want %q, %v, %v", p[:n], plain, err, c.want, c.plain, c.err)
			}
			if left, _ := unix.IoctlGetInt(b, unix.TIOCINQ); left != before-n {
				t.Errorf("%d of %d bytes are left", left, before)
			}
		})
	}
	a, b := pair(t)
	hangUp(a)
	if n, plain, err := wire.RecvPlain(b, make([]byte, 4)); n != 0 || !plain || err != nil {
		t.Errorf("at the end: %d bytes, plain %v, %v", n, plain, err)
	}
}
