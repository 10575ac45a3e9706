//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock is a lock file, flock(2), held from before the socket is bound until
// after its name is gone. It contains the holder's pid as text. A lock of this
// kind ends with its holder, so a file that was left behind holds nobody up.
type lock struct {
	file  *os.File
	place *place
	name  string
}

// takeLock locks the file beside the socket, or returns an *InUseError that
// names the holder.
func takeLock(p *place) (*lock, error) {
	name := p.base + ".lock"
	for {
		f, err := openLock(p, name)
		if err != nil {
			return nil, fmt.Errorf("lock %s.lock: %w", p.path, err)
		}
		l := &lock{file: f, place: p, name: name}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == unix.EWOULDBLOCK {
			pid := holder(f)
			_ = f.Close() // nothing was written
			return nil, &InUseError{PID: pid}
		}
		if err == nil && l.current() {
			if err = l.sign(); err == nil {
				return l, nil
			}
		}
		_ = f.Close() // nothing of worth was written
		if err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("lock %s.lock: %w", p.path, err)
		}
		// The file was removed between open and flock: we hold a lock that
		// nobody else would find, so start again with the file that is there.
	}
}

// openLock opens the lock file, which it creates if need be. The two steps are
// separate because in a sticky directory Linux refuses O_CREAT on a file of
// another user even to root, proc_sys_fs(5) protected_regular.
func openLock(p *place, name string) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	for {
		fd, err := unix.Openat(p.dir, name, flags, 0)
		if err == unix.ENOENT {
			fd, err = unix.Openat(p.dir, name, flags|unix.O_CREAT|unix.O_EXCL, 0o600)
		}
		if err == unix.EEXIST || err == unix.EINTR {
			continue // somebody else was faster, or a signal
		}
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), name)
		if err := lockable(fd); err != nil {
			_ = f.Close() // not ours
			return nil, err
		}
		return f, nil
	}
}

// lockable refuses what a stranger may have left under the lock's name.
func lockable(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a regular file")
	}
	if st.Uid != 0 && st.Uid != uint32(unix.Geteuid()) {
		return fmt.Errorf("belongs to uid %d", st.Uid)
	}
	return nil
}

// current says whether the lock file is still the one that others would open.
func (l *lock) current() bool {
	var mine unix.Stat_t
	if unix.Fstat(int(l.file.Fd()), &mine) != nil {
		return false
	}
	there, err := l.place.stat(l.name)
	return err == nil && idOf(&there) == idOf(&mine)
}

// sign writes our pid into the file.
func (l *lock) sign() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// release removes the lock file and gives up the lock, in this order: the
// other way round we could remove the file of our successor. Whoever has
// opened our file meanwhile finds that it is not current.
func (l *lock) release() {
	if l.current() {
		_ = unix.Unlinkat(l.place.dir, l.name, 0) // left behind it does no harm
	}
	_ = l.file.Close()
}

// holder reads the pid of the process that has the file locked. The holder
// writes it a moment after it has taken the lock, and until then the pid of
// one that was killed may stand there: give it that moment. The result is 0 if
// no living process is named.
func holder(f *os.File) int {
	deadline := time.Now().Add(time.Second)
	for {
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
		pid, numErr := strconv.Atoi(strings.TrimSpace(string(text)))
		alive := numErr == nil && pid > 0 && unix.Kill(pid, 0) != unix.ESRCH
		if alive {
			return pid
		}
		if err != nil || time.Now().After(deadline) {
			return 0
		}
		time.Sleep(5 * time.Millisecond)
	}
}
