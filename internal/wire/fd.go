package wire

import (
	"golang.org/x/sys/unix"
)

// oobSize holds one SCM_RIGHTS message with more descriptors than any message
// may carry, so that too many are seen as such and can be closed.
var oobSize = unix.CmsgSpace(8 * 4)

// Send writes all of b on a blocking stream socket, with the descriptors as
// SCM_RIGHTS on its first bytes. The caller keeps its own descriptors. A
// send timeout of the socket (SO_SNDTIMEO) bounds it.
func Send(fd int, b []byte, fds ...int) error {
	for len(b) > 0 {
		n, err := sendmsg(fd, b, fds, 0)
		if err != nil {
			return err
		}
		b, fds = b[n:], nil
	}
	return nil
}

// SendNow is one sendmsg(2) without waiting, for any socket: EAGAIN if there is no
// room. With an error nothing was sent, otherwise n bytes and the descriptors,
// which the caller keeps.
func SendNow(fd int, b []byte, fds ...int) (n int, err error) {
	return sendmsg(fd, b, fds, unix.MSG_DONTWAIT)
}

func sendmsg(fd int, b []byte, fds []int, flags int) (n int, err error) {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		n, err = unix.SendmsgN(fd, b, oob, nil, flags|unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// recvmsg reads what is there, close-on-exec from the first instant, and again
// when a signal interrupts it. Every descriptor that arrived is in fds, also with an error: the caller closes.
func recvmsg(fd int, p []byte, flags int) (n int, fds []int, err error) {
	var space [64]byte
	oob := space[:oobSize]
	n, oobn, got, _, err := unix.Recvmsg(fd, p, oob, flags|unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, oobn, got, _, err = unix.Recvmsg(fd, p, oob, flags|unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return 0, nil, err
	}
	if oobn > 0 {
		if fds, err = rights(oob[:oobn]); err != nil {
			return n, fds, err
		}
	}
	switch {
	case got&unix.MSG_CTRUNC == 0:
		return n, fds, nil
	case oobn < oobSize:
		// There was room: the kernel says nothing else when we may not
		// have another descriptor, see scm_detach_fds in net/core/scm.c.
		return n, fds, unix.EMFILE
	}
	return n, fds, protocolError("control data cut short")
}

// RecvNow is recvmsg(2) without waiting, for who waits in a poller: EAGAIN if
// there is nothing. The caller closes the descriptors, also with an error.
func RecvNow(fd int, p []byte) (n int, fds []int, err error) {
	return recvmsg(fd, p, unix.MSG_DONTWAIT)
}

// RecvBare is RecvNow for a place where no descriptor belongs: the kernel drops
// those that come, and the error is an ErrProtocol.
func RecvBare(fd int, p []byte) (n int, err error) {
	n, _, got, _, err := unix.Recvmsg(fd, p, nil, unix.MSG_DONTWAIT)
	if err == nil && got&unix.MSG_CTRUNC != 0 {
		err = protocolError("descriptors after the request")
	}
	return max(n, 0), err
}

// RecvPlain is RecvNow for bytes without descriptors. Where there is anything else it
// takes nothing and plain is false: who receives descriptors, even to drop them,
// may be the last to close them, and that can block. What is plain never does.
//
// Data out of band may carry descriptors as well, see unix(7). recvmsg(2) steps over
// it in silence, and drops it; but it counts in what there is, so that the
// numbers differ.
func RecvPlain(fd int, p []byte) (n int, plain bool, err error) {
	there, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil || there > len(p) {
		return 0, false, nil
	}
	n, _, got, _, err := unix.Recvmsg(fd, p[:max(there, 1)], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case there == 0 && n > 0:
		return 0, true, unix.EAGAIN // it came just now
	case there == 0:
		return 0, true, err
	case err != nil || n < there || got&unix.MSG_CTRUNC != 0:
		return 0, false, nil
	}
	// What came since is behind what was seen, and stays there.
	n, _, _, _, err = unix.Recvmsg(fd, p[:there], nil, unix.MSG_DONTWAIT)
	return max(n, 0), true, err
}

// rights collects the descriptors of every SCM_RIGHTS message before anything
// is judged, so that none can be forgotten open.
func rights(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, protocolError("control data that cannot be read")
	}
	for i := range messages {
		more, e := unix.ParseUnixRights(&messages[i])
		if e != nil {
			err = protocolError("control data other than descriptors")
			continue
		}
		fds = append(fds, more...)
	}
	return fds, err
}

// CloseAll closes descriptors that were received and are not wanted.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nothing was written through it
	}
}
