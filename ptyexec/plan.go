//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plan is one start: the child's steps, and the memory that they refer to by
// address. It is always on the heap, because it gets registered in family.
type plan struct {
	call
	receipt
	child *child

	steps    []step
	room     *stepRoom // where the steps are, unless there are more than usual
	execAt   int       // index of the first exec step
	chdirAt  int       // index of the first chdir step
	chdirs   int       // number of chdir steps
	text     []byte
	full     [][]byte // earlier values of text, kept alive
	pointers []uintptr
	groups   []uint32
	noFile   unix.Rlimit
}

// stepRoom holds as many steps as there usually are. It is more than a third of what a
// start allocates and of no use after it, so the next one takes it.
type stepRoom [32]step

var stepRooms = sync.Pool{New: func() any { return new(stepRoom) }}

// recycle ends the plan. No child looks at it any more: vfork has returned.
func (p *plan) recycle() {
	p.steps = nil
	stepRooms.Put(p.room)
}

var (
	require = errnoSet{}
	ignore  = errnoSet{^uint64(0), ^uint64(0)}

	// tryNext are the errors after which execvp(3) tries the next directory.
	tryNext = setOf(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ENODEV,
		unix.ESTALE, unix.ETIMEDOUT, unix.ENAMETOOLONG)
)

func setOf(errnos ...syscall.Errno) (s errnoSet) {
	for _, e := range errnos {
		s[e>>6] |= 1 << (e & 63)
	}
	return s
}

func (s errnoSet) has(e syscall.Errno) bool {
	return e < 128 && s[e>>6]&(1<<(e&63)) != 0
}

// Memory that steps of every start refer to.
var (
	noSignals     uint64     // an empty signal set
	defaultAction [4]uintptr // struct sigaction: SIG_DFL, no flags, empty mask
	oomPath       = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/',
		'o', 'o', 'm', '_', 's', 'c', 'o', 'r', 'e', '_', 'a', 'd', 'j', 0}
	oomNeutral = [...]byte{'0'}

	capHeader = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// keptCaps is the one that setgroups has just taken, so it is there.
	keptCaps = [2]unix.CapUserData{{Permitted: 1 << unix.CAP_SETGID}}
)

// newPlan writes down the child's system calls. The order matters:
//
//   - setsid first: only a session leader can take a controlling terminal.
//   - The descriptors next: before the child has left our table it must touch none,
//     and before it does what may take long it must hold none of others'. See conduit.go.
//   - What needs the rights of this process comes before those are given up:
//     the score for the OOM killer, the limit.
//   - setgroups, setgid, setuid: after setuid the other two would be refused,
//     and a setgid before setgroups would leave the old groups in between. Capabilities
//     go after setuid, as the three need them; a keyring comes before it, as each user may
//     have a few hundred keys only.
//   - TIOCSCTTY with argument 0, which never steals a terminal from another session.
//   - close_range for the conduit, and a terminal that is none of 0, 1, 2.
//   - chdir after the identity, so that the new user's rights decide.
//   - The signal mask last: from here on a signal may kill the child, and may not
//     before, as the rest of the list would be left undone.
//   - exec, once for each candidate.
func newPlan(s *Spec, d *descriptors, l *loan) *plan {
	p := &plan{child: &child{pidfd: -1}}
	p.prepare()
	p.room = stepRooms.Get().(*stepRoom)
	p.steps = p.room[:0]
	p.text = make([]byte, 0, textSize(s))

	p.add(require, unix.SYS_SETSID)
	p.addDescriptors(d, l)
	p.addInherited()
	if s.Umask != nil {
		p.add(require, unix.SYS_UMASK, uintptr(*s.Umask))
	}
	if s.Credential != nil {
		p.addCredential(s.Credential)
	}
	switch {
	case s.Terminal != nil:
		p.add(require, unix.SYS_IOCTL, uintptr(d.terminalInChild()), unix.TIOCSCTTY, 0)
	case s.AdoptTerminal:
		p.add(ignore, unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	p.add(require, unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), 0)
	p.addChdir(s)
	p.add(require, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, addr(&noSignals), 0, 8)
	p.addExec(s)

	p.first = addr(&p.steps[0])
	return p
}

func addr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

func (p *plan) add(pass errnoSet, nr uintptr, args ...uintptr) *step {
	p.steps = append(p.steps, step{nr: nr, pass: pass, advance: stepSize})
	st := &p.steps[len(p.steps)-1]
	copy(st.args[:], args)
	return st
}

// addInherited undoes what the program would otherwise inherit from the way this
// process was started or from what the Go runtime did to it. With clone(2) the child
// also has all the handlers of the Go runtime, which must never run in it, so they go
// before the mask does.
func (p *plan) addInherited() {
	set := ignoredSignals()
	if !hasClone3() {
		set = changeableSignals
	}
	for ; set != 0; set &= set - 1 {
		sig := trailingSignal(set)
		p.add(require, unix.SYS_RT_SIGACTION, sig, addr(&defaultAction), 0, 8)
	}
	// A filter may forbid prctl(2), and then the program does without.
	p.add(ignore, unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, timerSlack())
	if limit, ok := startLimit(); ok {
		p.noFile = limit
		p.add(require, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, addr(&p.noFile), 0)
	}
}

// addDescriptors leaves our table of descriptors for one that holds what the program
// is to have. It is empty but for the conduit when the OOM score is set, and when
// the message is received, so the numbers that the kernel gives out are known.
func (p *plan) addDescriptors(d *descriptors, l *loan) {
	rx, last := uintptr(l.conduit.rx), uintptr(^uint32(0))
	p.add(require, unix.SYS_CLOSE_RANGE, uintptr(l.end), last, unix.CLOSE_RANGE_UNSHARE)
	p.add(require, unix.SYS_CLOSE_RANGE, 0, rx-1, 0)
	p.add(require, unix.SYS_CLOSE_RANGE, rx+1, last, 0)
	if oomScored() {
		// All of it may fail, as lowering a score takes CAP_SYS_RESOURCE.
		at := unix.AT_FDCWD
		p.add(ignore, unix.SYS_OPENAT, uintptr(at), addr(&oomPath), unix.O_WRONLY|unix.O_CLOEXEC)
		p.add(ignore, unix.SYS_WRITE, 0, addr(&oomNeutral), uintptr(len(oomNeutral)))
		p.add(ignore, unix.SYS_CLOSE, 0)
	}
	p.prepareReceipt(len(d.forChild()))
	p.add(require, unix.SYS_RECVMSG, rx, addr(&p.message), 0)
}

// addCredential changes the identity. Until exec the child shares the memory of this process
// and belongs to somebody else, who must not read it there. So, until exec:
//
//   - One capability stays permitted, from setuid on (PR_SET_KEEPCAPS); it has no effect.
//     Who has not got it cannot trace the child: cap_ptrace_access_check in the kernel.
//   - The memory is not dumpable, so that no signal makes a core file of it. A
//     change of uid makes it what fs.suid_dumpable says, which may be 1.
//
// exec undoes both.
func (p *plan) addCredential(c *Credential) {
	var groups uintptr
	if len(c.Groups) > 0 {
		p.groups = append(p.groups, c.Groups...)
		groups = addr(&p.groups[0])
	}
	// Who shares a session keyring can read the keys in it. A kernel without
	// keyrings or a container in which they are forbidden has none to share.
	p.add(ignore, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	p.add(require, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	p.add(require, unix.SYS_SETGROUPS, uintptr(len(p.groups)), groups)
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	p.add(require, unix.SYS_SETRESGID, gid, gid, gid)
	p.add(require, unix.SYS_SETRESUID, uid, uid, uid)
	p.add(require, unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	if uid != 0 {
		// setuid leaves the inheritable ones, and all where securebits say so.
		p.add(require, unix.SYS_CAPSET, addr(&capHeader), addr(&keptCaps))
	}
}

// addChdir tries Dir, then each fallback; the first that works skips the others.
func (p *plan) addChdir(s *Spec) {
	p.chdirAt = len(p.steps)
	if s.Dir == "" {
		return
	}
	p.chdirs = 1 + len(s.Fallback)
	p.add(ignore, unix.SYS_CHDIR, p.cstring(s.Dir))
	for _, dir := range s.Fallback {
		p.add(ignore, unix.SYS_CHDIR, p.cstring(dir))
	}
	for i := range p.chdirs {
		p.steps[p.chdirAt+i].advance = uintptr(p.chdirs-i) * stepSize
	}
	p.steps[len(p.steps)-1].pass = require
}

func (p *plan) addExec(s *Spec) {
	args := s.Args
	if len(args) == 0 {
		args = []string{s.Program}
	}
	p.pointers = make([]uintptr, 0, len(args)+len(s.Env)+2)
	for _, arg := range args {
		p.pointers = append(p.pointers, p.cstring(arg))
	}
	p.pointers = append(p.pointers, 0)
	env := len(p.pointers)
	for _, v := range s.Env {
		p.pointers = append(p.pointers, p.cstring(v))
	}
	p.pointers = append(p.pointers, 0)

	p.execAt = len(p.steps)
	argv, envp := addr(&p.pointers[0]), addr(&p.pointers[env])
	if strings.Contains(s.Program, "/") {
		p.addExecOf(s.Program, argv, envp)
		return
	}
	for dir := range candidates(s) {
		p.add(tryNext, unix.SYS_EXECVE, p.cstring(dir, s.Program), argv, envp)
	}
	p.steps[len(p.steps)-1].pass = require
}

// addExecOf runs the one file that can be meant. Where exec says that there is none, the
// child looks whether there is, with the rights of its user, whom nobody must tell more;
// then something that the file names is not there, and a second exec says so for good.
func (p *plan) addExecOf(file string, argv, envp uintptr) {
	path, here := p.cstring(file), unix.AT_FDCWD
	p.add(setOf(unix.ENOENT), unix.SYS_EXECVE, path, argv, envp)
	p.add(require, unix.SYS_FACCESSAT, uintptr(here), path, unix.F_OK)
	p.add(require, unix.SYS_EXECVE, path, argv, envp)
}

// cstring stores the joined parts with a NUL behind and returns their address.
func (p *plan) cstring(parts ...string) uintptr {
	n := 1
	for _, part := range parts {
		n += len(part)
	}
	if cap(p.text)-len(p.text) < n {
		// To grow text would move what is in it.
		p.full = append(p.full, p.text)
		p.text = make([]byte, 0, max(n, 4096))
	}
	at := len(p.text)
	for _, part := range parts {
		p.text = append(p.text, part...)
	}
	p.text = append(p.text, 0)
	return addr(&p.text[at])
}

// textSize returns how much room the strings of s take, but for the candidates.
func textSize(s *Spec) int {
	n := 256 + len(s.Dir) + len(s.Program)
	for _, arg := range s.Args {
		n += len(arg) + 1
	}
	for _, v := range s.Env {
		n += len(v) + 1
	}
	return n
}
