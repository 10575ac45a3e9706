package wire

import (
	"encoding/binary"
	"io"
)

// Recv reads what a socket has. It is a function so that the daemon can wait in
// the runtime poller and the client in a blocking system call. It returns 0
// bytes at the end of the stream.
type Recv func(p []byte) (n int, fds []int, err error)

// RecvFD returns a Recv that calls recvmsg(2) with the given flags on fd. With MSG_DONTWAIT its error is EAGAIN when
// there is nothing; a Reader takes up later where it stopped.
func RecvFD(fd, flags int) Recv {
	return func(p []byte) (int, []int, error) { return recvmsg(fd, p, flags) }
}

// Reader takes messages off a stream in whatever pieces they arrive, and
// collects the descriptors that come with them. Memory grows with the bytes
// that have arrived, never with a length that was only announced.
//
// A Reader owns the descriptors until TakeDescriptors; Close closes those left.
type Reader struct {
	recv  Recv
	limit int
	buf   []byte
	r, w  int
	fds   []int
	fdEnd int // the last descriptors came on the byte before this one, or earlier
}

// NewReader returns a Reader whose first buffer is buf, which it owns until
// ReleaseBuffer gives it back. A message may be as long as MaxMessage.
func NewReader(recv Recv, buf []byte) *Reader {
	return &Reader{recv: recv, limit: MaxMessage, buf: buf[:cap(buf)]}
}

// Prime says that n bytes and these descriptors have been received already, at
// the beginning of the first buffer.
func (r *Reader) Prime(n int, fds []int) { r.w, r.fds, r.fdEnd = n, fds, n }

// SetLimit sets how long a payload may be from now on. A longer one is
// ErrTooLarge as soon as its length is known.
func (r *Reader) SetLimit(n int) { r.limit = n }

// ReleaseBuffer gives the first buffer back and keeps bytes not yet read, if
// any, in one of their own. Payloads returned before are no longer valid.
func (r *Reader) ReleaseBuffer() []byte {
	old := r.buf
	r.buf = append([]byte(nil), r.buf[r.r:r.w]...)
	r.fdEnd -= r.r
	r.r, r.w = 0, len(r.buf)
	return old
}

// SetRecv replaces the way the Reader waits.
func (r *Reader) SetRecv(recv Recv) { r.recv = recv }

// TakeDescriptors hands over all descriptors that have arrived. The caller
// closes them.
func (r *Reader) TakeDescriptors() []int {
	fds := r.fds
	r.fds = nil
	return fds
}

// Descriptors is the number of descriptors that have arrived and that nobody took.
func (r *Reader) Descriptors() int { return len(r.fds) }

// Close closes descriptors that nobody took. It does not close the socket.
func (r *Reader) Close() { CloseAll(r.TakeDescriptors()) }

// Buffered is the number of bytes that have arrived and were not yet read.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill returns once need unread bytes are in the buffer. The end of the stream
// is io.EOF before the first byte of a message and io.ErrUnexpectedEOF in it.
func (r *Reader) fill(need int) error {
	for r.w-r.r < need {
		r.makeRoom(need)
		n, fds, err := r.recv(r.buf[r.w:])
		r.fds = append(r.fds, fds...)
		if err != nil {
			return err
		}
		if len(r.fds) > MaxDescriptors {
			return protocolError("more than three descriptors")
		}
		if n == 0 {
			if r.w == r.r {
				return io.EOF
			}
			return io.ErrUnexpectedEOF
		}
		r.w += n
		if len(fds) > 0 {
			r.fdEnd = r.w
		}
	}
	return nil
}

// makeRoom sees that at least one more byte can be read. It doubles a full
// buffer, so that an announced length alone costs nothing.
func (r *Reader) makeRoom(need int) {
	if r.w < len(r.buf) && r.r+need <= len(r.buf) && r.r < r.w {
		return
	}
	if r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
		r.fdEnd -= r.r
		r.r, r.w = 0, r.w-r.r
	}
	if r.w == len(r.buf) {
		grown := make([]byte, max(256, min(2*len(r.buf), need)))
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
}

// Opening reads what decides the dialect. legacy means that the first command
// is one of the old dialect and still to be read with Legacy; otherwise the
// greeting has been read and messages follow.
func (r *Reader) Opening() (h Hello, legacy bool, err error) {
	if err := r.fill(legacyHeader); err != nil {
		return Hello{}, false, err
	}
	if binary.LittleEndian.Uint16(r.buf[r.r:]) != commandHello {
		return Hello{}, true, nil
	}
	size := openingSize(r.buf[r.r:])
	if err := r.fill(size); err != nil {
		return Hello{}, false, err
	}
	h, n, err := parseHello(r.buf[r.r : r.r+size])
	if err != nil {
		return Hello{}, false, err
	}
	r.r += n
	return h, false, nil
}

// Message reads one message of the new dialect. The payload is valid until the
// next call of any method.
func (r *Reader) Message() (Kind, []byte, error) {
	if err := r.fill(messageHeader); err != nil {
		return 0, nil, err
	}
	k, length := parseHeader(r.buf[r.r:])
	if uint64(length) > uint64(r.limit) {
		return 0, nil, ErrTooLarge
	}
	size := messageHeader + int(length)
	if err := r.fill(size); err != nil {
		return 0, nil, err
	}
	payload := r.buf[r.r+messageHeader : r.r+size]
	r.r += size
	return k, payload, nil
}

// Legacy reads one command of the old dialect. Descriptors belong on the bytes
// of GO: a recvmsg(2) never reads past bytes that carried some, so if another
// command reaches up to where it stopped, they came on that one.
func (r *Reader) Legacy() (LegacyCommand, []byte, error) {
	if err := r.fill(legacyHeader); err != nil {
		return 0, nil, err
	}
	c := LegacyCommand(binary.LittleEndian.Uint16(r.buf[r.r:]))
	length := int(binary.LittleEndian.Uint16(r.buf[r.r+2:]))
	if length > r.limit {
		return 0, nil, ErrTooLarge
	}
	if err := r.fill(legacyHeader + length); err != nil {
		return 0, nil, err
	}
	payload := r.buf[r.r+legacyHeader : r.r+legacyHeader+length]
	r.r += legacyHeader + length
	if c != LegacyGo && len(r.fds) > 0 && r.r >= r.fdEnd {
		return 0, nil, protocolError("descriptors on a command other than GO")
	}
	return c, payload, nil
}

// Status reads the four bytes that end a connection of the old dialect.
func (r *Reader) Status() (int32, error) {
	if err := r.fill(4); err != nil {
		return 0, err
	}
	status := ParseLegacyStatus(r.buf[r.r:])
	r.r += 4
	return status, nil
}
