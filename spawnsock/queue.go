//go:build linux

package spawnsock

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Queue reports how many clients wait to be accepted now, the most that were
// seen waiting, and the effective backlog. It asks the kernel through
// sock_diag(7), which ordinary users may, too. It does not block.
func (l *Listener) Queue() (Depth, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Depth{}, errClosed
	}
	now, limit, err := l.queueLocked()
	if err != nil {
		return Depth{}, l.fail("queue", err)
	}
	return Depth{Now: now, Peak: l.meter.seen(now), Limit: limit}, nil
}

func (l *Listener) queueLocked() (now, limit int, err error) {
	return l.meter.ask(l.now.ino)
}

// sample notes how many wait right after a client was accepted, who waited
// together with them and so counts. Most of the time there is nobody else, which
// poll(2) tells for a hundredth of what the question to the kernel costs.
func (l *Listener) sample() {
	l.mu.Lock()
	s := l.now
	l.mu.Unlock()
	switch {
	case !s.crowded():
		l.meter.seen(1)
	case l.meter.due():
		l.meter.sample(s.ino)
	}
}

// The kernel looks for a socket by walking all Unix sockets of the network
// namespace, so a question takes microseconds on a quiet machine and most of a
// millisecond beside ten thousand connections. After each sample none is taken
// for restShare times as long as it took, but not for longer than maxRest: a
// sample in which the process was stopped, or had to wait for a processor, says
// nothing of the kernel, and a burst must not come and go unseen because of it.
const (
	restShare = 20
	maxRest   = 100 * time.Millisecond
)

// meter asks for the depth of one listener's accept queue and keeps the peak.
type meter struct {
	peak atomic.Int64
	next atomic.Int64 // not before this moment, in nanoseconds since start
	mu   sync.Mutex
	diag *diag
	err  error // of opening diag: then it is not tried again
}

var start = time.Now()

// due says whether it is time for another sample.
func (m *meter) due() bool { return int64(time.Since(start)) >= m.next.Load() }

func (m *meter) sample(socket uint32) {
	began := time.Since(start)
	now, limit, err := m.ask(socket)
	ended := time.Since(start)
	rest := min(restShare*(ended-began), maxRest)
	if err != nil {
		rest = max(rest, time.Second)
	} else {
		// One more than now, unless the queue has filled up again behind it.
		m.seen(max(now, min(now, limit)+1))
	}
	m.next.Store(int64(ended + rest))
}

// seen raises the peak to n, and returns it.
func (m *meter) seen(n int) int {
	for {
		peak := m.peak.Load()
		if int64(n) <= peak {
			return int(peak)
		}
		if m.peak.CompareAndSwap(peak, int64(n)) {
			return n
		}
	}
}

func (m *meter) ask(socket uint32) (now, limit int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.diag == nil && m.err == nil {
		m.diag, m.err = openDiag()
	}
	if m.err != nil {
		return 0, 0, m.err
	}
	return m.diag.queue(socket)
}

func (m *meter) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.diag != nil {
		_ = unix.Close(m.diag.fd) // no data in flight
	}
	m.diag, m.err = nil, errClosed
}

// diag is a socket for questions to sock_diag(7). The kernel answers before
// sendto returns, so nothing here waits.
type diag struct {
	fd  int
	seq uint32
	out [unix.NLMSG_HDRLEN + 24]byte
	in  [512]byte
}

// From <linux/unix_diag.h>.
const (
	udiagShowRqlen = 0x10
	unixDiagRqlen  = 4
	anyCookie      = ^uint32(0)
	anyState       = ^uint32(0)
)

func openDiag() (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &diag{fd: fd}, nil
}

// queue asks for the listening Unix socket with the given inode number.
func (d *diag) queue(socket uint32) (now, limit int, err error) {
	d.seq++
	le := binary.NativeEndian
	b := d.out[:0]
	b = le.AppendUint32(b, uint32(len(d.out))) // struct nlmsghdr
	b = le.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST)
	b = le.AppendUint32(b, d.seq)
	b = le.AppendUint32(b, 0)
	b = append(b, unix.AF_UNIX, 0, 0, 0) // struct unix_diag_req
	b = le.AppendUint32(b, anyState)
	b = le.AppendUint32(b, socket)
	b = le.AppendUint32(b, udiagShowRqlen)
	b = le.AppendUint32(b, anyCookie)
	b = le.AppendUint32(b, anyCookie)
	if err := d.send(b); err != nil {
		return 0, 0, os.NewSyscallError("sendto", err)
	}
	for {
		n, err := d.receive()
		if err != nil {
			return 0, 0, os.NewSyscallError("recvfrom", err)
		}
		if n >= unix.NLMSG_HDRLEN && le.Uint32(d.in[8:]) == d.seq {
			return parseQueue(d.in[:n])
		}
	}
}

func (d *diag) send(b []byte) error {
	for {
		err := unix.Sendto(d.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

func (d *diag) receive() (int, error) {
	for {
		n, _, err := unix.Recvfrom(d.fd, d.in[:], 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

var errDiagAnswer = errors.New("sock_diag answer makes no sense")

// parseQueue reads the answer: an error number, or a struct unix_diag_msg
// followed by attributes, of which we want the queue lengths.
func parseQueue(b []byte) (now, limit int, err error) {
	le := binary.NativeEndian
	body := b[unix.NLMSG_HDRLEN:]
	if le.Uint16(b[4:]) == unix.NLMSG_ERROR {
		if len(body) < 4 {
			return 0, 0, errDiagAnswer
		}
		return 0, 0, os.NewSyscallError("sock_diag", unix.Errno(-int32(le.Uint32(body))))
	}
	const msgLen = 16 // struct unix_diag_msg
	if len(body) < msgLen {
		return 0, 0, errDiagAnswer
	}
	for attrs := body[msgLen:]; len(attrs) >= 4; {
		size, kind := int(le.Uint16(attrs)), le.Uint16(attrs[2:])
		if size < 4 || size > len(attrs) {
			break
		}
		if kind == unixDiagRqlen && size >= 12 {
			return int(le.Uint32(attrs[4:])), int(le.Uint32(attrs[8:])), nil
		}
		attrs = attrs[min(len(attrs), (size+3)&^3):]
	}
	return 0, 0, errDiagAnswer
}
