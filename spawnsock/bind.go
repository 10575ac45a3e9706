//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// A name that is there before its socket listens refuses its clients. So bind
// and listen follow each other directly, or the name comes last.
//
// bind(2) makes the socket file with the mode of the socket itself (which
// fchmod sets beforehand) less the umask, and with the group of the calling
// thread. So there are three ways to a name that is right from the moment it
// appears, and the first that will do is taken:
//
//   - A mode for the owner alone and no group: bind.
//   - Otherwise bind on a thread of our own, which has its own umask and its
//     own file system group and ends afterwards.
//   - Where that is forbidden (unshare in a container, a group that we belong to
//     but do not run as) or of no use (a set-group-ID directory, a name too
//     long for an address): bind under another name, put mode and group right,
//     then link the file to its name. The kernel goes on showing the other
//     name as the socket's address, which is why this comes last.

// errAside says that the socket must be bound under another name first.
var errAside = errors.New("bind aside")

// bindAt binds the socket fd to the place, has it listen and returns the file's
// identity.
func bindAt(fd int, p *place, o Options) (fileID, error) {
	if err := os.NewSyscallError("fchmod", unix.Fchmod(fd, uint32(o.Mode.Perm()))); err != nil {
		return fileID{}, err
	}
	var err error
	switch {
	case p.address(p.base) == "":
		err = errAside
	case o.Group == nil && o.Mode&0o077 == 0:
		err = bindListen(fd, p, o)
	default:
		err = bindOnThread(fd, p, o)
	}
	if err == errAside {
		err = bindAside(fd, p, o)
	}
	if err != nil {
		return fileID{}, err
	}
	return confirm(p, o)
}

func bind(fd int, p *place, name string) error {
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: p.address(name)}))
}

// bindListen binds to the true name and listens.
func bindListen(fd int, p *place, o Options) error {
	if err := bind(fd, p, p.base); err != nil {
		return err
	}
	if err := listen(fd, o); err != nil {
		_ = unix.Unlinkat(p.dir, p.base, 0) // the first error is the one that matters
		return err
	}
	return nil
}

func listen(fd int, o Options) error {
	return os.NewSyscallError("listen", unix.Listen(fd, askBacklog(o.Backlog)))
}

// bindOnThread binds on a thread whose umask and group concern nobody else.
// The goroutine never unlocks it, so the thread ends with the goroutine.
func bindOnThread(fd int, p *place, o Options) error {
	if o.Group != nil && p.givesGroup() {
		return errAside
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if !takeIdentity(o.Group) {
			done <- errAside
			return
		}
		done <- bindListen(fd, p, o)
	}()
	return <-done
}

// takeIdentity gives the calling thread an empty umask of its own and, if there is
// a group, that one for the files it makes.
func takeIdentity(group *int) bool {
	if unix.Unshare(unix.CLONE_FS) != nil {
		return false
	}
	unix.Umask(0)
	if group == nil {
		return true
	}
	// setfsgid(2) reports no error; a second call tells what came of the first.
	_, _ = unix.SetfsgidRetGid(*group)
	now, _ := unix.SetfsgidRetGid(-1)
	return now == *group
}

// givesGroup says whether new files in the directory get the directory's group.
func (p *place) givesGroup() bool {
	var st unix.Stat_t
	return unix.Fstat(p.dir, &st) != nil || st.Mode&unix.S_ISGID != 0
}

// bindAside binds under another name and moves the finished file to its own.
// link(2) fails if the name exists, where rename(2) would replace a socket that
// somebody bound there meanwhile.
func bindAside(fd int, p *place, o Options) (err error) {
	name := p.spareName()
	if err := bindFresh(fd, p, name); err != nil {
		return err
	}
	defer func() {
		if e := unix.Unlinkat(p.dir, name, 0); err == nil {
			err = os.NewSyscallError("unlink", e)
		}
	}()
	if o.Group != nil {
		err := unix.Fchownat(p.dir, name, -1, *o.Group, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("set group %d: %w", *o.Group, err)
		}
	}
	if err := unix.Fchmodat(p.dir, name, uint32(o.Mode.Perm()), 0); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	if err := listen(fd, o); err != nil {
		return err
	}
	if err := unix.Linkat(p.dir, name, p.dir, p.base, 0); err != nil {
		return os.NewSyscallError("link", err)
	}
	return nil
}

// bindFresh binds to a name that only this process uses. A file that has it
// was left by a process that is gone and had our pid.
func bindFresh(fd int, p *place, name string) error {
	// Nobody else may connect to the file while it has its other name.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	err := bind(fd, p, name)
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	if err := unix.Unlinkat(p.dir, name, 0); err != nil {
		return os.NewSyscallError("unlink", err)
	}
	return bind(fd, p, name)
}

// spareName is the name with our pid behind it, or the pid alone if that is too
// long for an address.
func (p *place) spareName() string {
	pid := strconv.Itoa(os.Getpid())
	if name := p.base + "." + pid; p.address(name) != "" {
		return name
	}
	return ".sock." + pid
}

// confirm returns the identity of the file that bind made. It repairs the one
// difference that the plain way leaves: an umask that takes rights from the
// owner makes the first instant stricter than it was meant to be.
func confirm(p *place, o Options) (fileID, error) {
	st, err := p.stat(p.base)
	if err != nil {
		return fileID{}, os.NewSyscallError("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fileID{}, errors.New("another file took the place of the socket")
	}
	if st.Mode&0o777 != uint32(o.Mode.Perm()) {
		err = unix.Fchmodat(p.dir, p.base, uint32(o.Mode.Perm()), 0)
	}
	return idOf(&st), os.NewSyscallError("chmod", err)
}
