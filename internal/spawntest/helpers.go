package spawntest

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// helpers are the programs that the test binary plays when it is started under
// their name. Helper gives a path to start them by.
//
//	spawntest-rawecho        raw mode, prints READY, then echoes every byte
//	spawntest-rawsink N      raw mode, prints READY, reads N bytes, prints their SHA-256
//	spawntest-random SEED N  raw mode on a terminal, prints N random bytes
//	spawntest-winsize        prints the window size, and again at each SIGWINCH,
//	                         until a line or the end of input
//	spawntest-termios        prints the terminal settings of its stdin, as JSON
//	spawntest-session        prints its session as JSON, see SessionReport
//	spawntest-signals NAME [N] [FILE]
//	                         prints "NAME SIGXXX" for each signal it gets, also
//	                         from N children in its group; ends at a line "exit N"
//	spawntest-streams FILE   writes what its streams are to FILE, as JSON, see
//	                         StreamReport, and "out" and "err" to the last two
//	spawntest-args           prints its arguments as JSON
//	spawntest-disturbed      ignores and blocks every signal, then runs its arguments
//	spawntest-denied NR ERRNO
//	                         denies a system call, see Deny, then runs its other arguments,
//	                         a program by its path
//	spawntest-subreaper      runs its arguments as child subreaper
//	spawntest-pid1           mounts its own /proc, then runs its arguments
//	spawntest-jobs           the job shell, see Jobs
//	spawntest-keeper         stops daemons that a test could not, see keeper
var helpers = map[string]func(args []string) int{
	"spawntest-rawecho":   rawEcho,
	"spawntest-rawsink":   rawSink,
	"spawntest-random":    random,
	"spawntest-winsize":   winsize,
	"spawntest-termios":   termios,
	"spawntest-session":   session,
	"spawntest-signals":   signals,
	"spawntest-streams":   streams,
	"spawntest-args":      printArgs,
	"spawntest-disturbed": disturbed,
	"spawntest-denied":    denied,
	"spawntest-subreaper": subreaper,
	"spawntest-pid1":      pid1,
}

// fail reports a helper's trouble where the test will see it.
func fail(err error) int {
	fmt.Fprintf(os.Stderr, "helper: %v\r\n", err)
	return 99
}

// makeRaw puts the terminal on stdin into raw mode, both ways, as cfmakeraw(3).
func makeRaw() error {
	settings, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("TCGETS", err)
	}
	settings.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	settings.Oflag &^= unix.OPOST
	settings.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	settings.Cflag = settings.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 1, 0
	return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(0, unix.TCSETS, settings))
}

func rawEcho([]string) int {
	if err := makeRaw(); err != nil {
		return fail(err)
	}
	fmt.Print("READY")
	if _, err := io.Copy(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}); err != nil {
		return fail(err)
	}
	return 0
}

func rawSink(args []string) int {
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err == nil {
		err = makeRaw()
	}
	if err != nil {
		return fail(err)
	}
	fmt.Print("READY")
	hash := sha256.New()
	if _, err := io.CopyN(hash, os.Stdin, n); err != nil {
		return fail(err)
	}
	fmt.Printf("%x\n", hash.Sum(nil))
	return 0
}

// Random is the stream of bytes that the helper of that name prints, without
// an end.
func Random(seed int64) io.Reader {
	var key [32]byte
	copy(key[:], strconv.FormatInt(seed, 10))
	return rand.NewChaCha8(key)
}

func random(args []string) int {
	seed, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return fail(err)
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return fail(err)
	}
	_ = makeRaw() // without a terminal there is nothing to do
	if _, err := io.CopyN(os.Stdout, Random(seed), n); err != nil {
		return fail(err)
	}
	return 0
}

func winsize([]string) int {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // a line or the end, both will do
	}()
	for {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return fail(err)
		}
		fmt.Printf("size %d %d %d %d.\n", size.Row, size.Col, size.Xpixel, size.Ypixel)
		select {
		case <-changes:
		case <-ended:
			return 0
		}
	}
}

func termios([]string) int {
	settings, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return fail(err)
	}
	return printJSON(settings)
}

func printArgs(args []string) int {
	// JSON would replace what is not UTF-8, so the bytes go as numbers.
	bytes := make([][]int, 0, len(args))
	for _, arg := range args {
		numbers := make([]int, 0, len(arg))
		for i := range len(arg) {
			numbers = append(numbers, int(arg[i]))
		}
		bytes = append(bytes, numbers)
	}
	return printJSON(bytes)
}

func printJSON(v any) int {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return fail(err)
	}
	return 0
}

// SessionReport is what spawntest-session prints.
type SessionReport struct {
	PID, Group, Session, Foreground int
	Stdin                           string // where /proc/self/fd/0 points
	Tty                             string // what tty(1) says of stdin
	DevTty                          uint64 // device of stdin as /dev/tty reports it, 0 without
	StdinDevice                     uint64
}

func session([]string) int {
	report := SessionReport{PID: os.Getpid(), Group: unix.Getpgrp()}
	report.Session, _ = unix.Getsid(0) // cannot fail for oneself
	report.Foreground, _ = unix.IoctlGetInt(0, unix.TIOCGPGRP)
	report.Stdin, _ = os.Readlink("/proc/self/fd/0")
	tty := exec.Command("tty")
	tty.Stdin = os.Stdin
	out, _ := tty.Output() // fails where stdin is no terminal, and says so
	report.Tty = strings.TrimSpace(string(out))
	var stat unix.Stat_t
	if err := unix.Fstat(0, &stat); err == nil {
		report.StdinDevice = stat.Rdev
	}
	if fd, err := unix.Open("/dev/tty", unix.O_RDWR, 0); err == nil {
		// /dev/tty has a number of its own; TIOCGDEV tells what is behind it.
		device, _ := unix.IoctlGetUint32(fd, unix.TIOCGDEV)
		report.DevTty = uint64(device)
	}
	return printJSON(report)
}

// StreamReport is what spawntest-streams writes of each of its three streams.
type StreamReport struct {
	Terminal bool
	File     string // where /proc/self/fd/N points
}

func streams(args []string) int {
	var report [3]StreamReport
	for fd := range report {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		report[fd].Terminal = err == nil
		report[fd].File, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) // the Go runtime leaves none closed
	}
	file, err := os.Create(args[0])
	if err != nil {
		return fail(err)
	}
	if err := json.NewEncoder(file).Encode(report); err != nil {
		return fail(err)
	}
	_, _ = os.Stdout.WriteString("out\n") // may be closed: that is what the test is about
	_, _ = os.Stderr.WriteString("err\n")
	return 6
}

// signals reports every signal that it gets. The Go runtime sends itself SIGURG
// to preempt goroutines; the program starts itself anew without that, so that a
// SIGURG it sees came from outside.
func signals(args []string) int {
	if os.Getenv("GODEBUG") != "asyncpreemptoff=1" {
		env := append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
		return fail(syscall.Exec(os.Args[0], os.Args, env))
	}
	got := make(chan os.Signal, 100)
	signal.Notify(got)
	name, children := args[0], 0
	if len(args) > 1 {
		children, _ = strconv.Atoi(args[1])
	}
	var out io.Writer = os.Stdout
	if len(args) > 2 {
		file, err := os.OpenFile(args[2], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return fail(err)
		}
		out = file
	}
	for i := range children {
		// A child that holds stdin too would take the order to end.
		child := exec.Command(os.Args[0], append([]string{fmt.Sprintf("%s%d", name, i+1), "0"}, args[min(len(args), 2):]...)...)
		hold, _ := child.StdinPipe() // its end, with us, ends the child
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return fail(err)
		}
		defer hold.Close()
	}
	return reportSignals(name, out, got, children > 0)
}

func reportSignals(name string, out io.Writer, got <-chan os.Signal, parent bool) int {
	orders := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			orders <- lines.Text()
		}
		close(orders)
	}()
	fmt.Fprintf(out, "%s ready %d\n", name, os.Getpid())
	for {
		select {
		case sig := <-got:
			if sig != unix.SIGCHLD || !parent {
				fmt.Fprintf(out, "%s %s\n", name, unix.SignalName(sig.(syscall.Signal)))
			}
		case order, ok := <-orders:
			code, err := strconv.Atoi(strings.TrimPrefix(order, "exit "))
			if !ok {
				return 0
			}
			if err == nil {
				return code
			}
		}
	}
}

// disturbed gives a program the worst start there is: every signal that can be
// is ignored, and blocked as well.
func disturbed(args []string) int {
	runtime.LockOSThread()
	for n := syscall.Signal(1); n <= 64; n++ {
		signal.Ignore(n)
	}
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return fail(err)
	}
	return run(args)
}

func subreaper(args []string) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fail(os.NewSyscallError("prctl", err))
	}
	return run(args)
}

// pid1 expects to be started in new process and mount namespaces.
func pid1(args []string) int {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fail(os.NewSyscallError("mount", err))
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fail(os.NewSyscallError("mount", err))
	}
	return run(args)
}

// run replaces the helper by another program.
func run(args []string) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fail(err)
	}
	return fail(syscall.Exec(path, args, os.Environ()))
}
