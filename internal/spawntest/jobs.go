package spawntest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Jobs is a shell with job control, reduced to what a test wants to see: it
// runs one job at a time on a Terminal, hands the terminal over and takes it
// back as a shell does, and reports every stop and end. Unlike a real shell it
// never touches the terminal's settings, so what a job leaves behind there stays.
type Jobs struct {
	term   *Terminal
	asks   *json.Encoder
	events chan Event
}

// Event is something that happened to the job.
type Event struct {
	Kind string // started, stopped, exited, line
	PID  int
	Code int    // exit status, -N if signal N killed it, or the signal that stopped it
	Text string // of line
}

// ask is one order to the helper: run, fg, bg or line.
type ask struct {
	Do   string
	Argv []string
}

func init() { RegisterHelper("spawntest-jobs", jobsMain) }

// JobShell is the command of a job shell whose jobs are clients of d.
func (d *Daemon) JobShell() *exec.Cmd {
	return d.Command(Helper(d.t, "spawntest-jobs"))
}

// StartJobs starts the job shell on term. The command comes from JobShell, or
// runs that helper in another way; its environment is that of the jobs. The job
// shell ends with the terminal.
func StartJobs(term *Terminal, cmd *exec.Cmd) *Jobs {
	term.t.Helper()
	asksOut, asksIn := pipe(term)
	eventsOut, eventsIn := pipe(term)
	cmd.ExtraFiles = []*os.File{asksOut, eventsIn}
	term.Start(cmd)
	_ = asksOut.Close() // the child has its own
	_ = eventsIn.Close()
	jobs := &Jobs{term: term, asks: json.NewEncoder(asksIn), events: make(chan Event, 100)}
	go func() {
		defer eventsOut.Close()
		defer close(jobs.events)
		for dec := json.NewDecoder(eventsOut); ; {
			var event Event
			if dec.Decode(&event) != nil {
				return // the job shell is gone
			}
			jobs.events <- event
		}
	}()
	term.t.Cleanup(func() { _ = asksIn.Close() }) // ends the job shell
	return jobs
}

func pipe(term *Terminal) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		term.t.Fatal(err)
	}
	return r, w
}

// Run starts a command as the foreground job and returns its process id.
func (jobs *Jobs) Run(argv ...string) int {
	jobs.term.t.Helper()
	jobs.ask("run", argv...)
	return jobs.Expect("started").PID
}

// Foreground gives the terminal to the job and continues it, as fg does.
func (jobs *Jobs) Foreground() { jobs.ask("fg") }

// Background continues the job without giving it the terminal, as bg does.
func (jobs *Jobs) Background() { jobs.ask("bg") }

// Line reads one line from the terminal, as the shell's own prompt would.
func (jobs *Jobs) Line() string {
	jobs.term.t.Helper()
	jobs.ask("line")
	return jobs.Expect("line").Text
}

func (jobs *Jobs) ask(do string, argv ...string) {
	jobs.term.t.Helper()
	if err := jobs.asks.Encode(ask{Do: do, Argv: argv}); err != nil {
		jobs.term.t.Fatalf("ask the job shell to %s: %v", do, err)
	}
}

// Expect waits for the next event, which must be of this kind.
func (jobs *Jobs) Expect(kind string) Event {
	jobs.term.t.Helper()
	select {
	case event, ok := <-jobs.events:
		if !ok {
			jobs.term.fatalf("the job shell ended, want %s", kind)
		}
		if event.Kind != kind {
			jobs.term.fatalf("the job shell reports %+v, want %s", event, kind)
		}
		return event
	case <-time.After(Deadline):
		jobs.term.fatalf("the job has not %s within %v", kind, Deadline)
	}
	return Event{}
}

// Exited waits for the end of the job and returns its exit status.
func (jobs *Jobs) Exited() int {
	jobs.term.t.Helper()
	return jobs.Expect("exited").Code
}

// jobsMain is the helper: orders on descriptor 3, events on descriptor 4.
func jobsMain([]string) int {
	// A real shell does not die of the keys that are meant for its jobs. Caught
	// and not ignored, since a job would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP)
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	events := json.NewEncoder(os.NewFile(4, "events"))
	lines := bufio.NewReader(os.Stdin)
	var job int
	for dec := json.NewDecoder(os.NewFile(3, "asks")); ; {
		var order ask
		if dec.Decode(&order) != nil {
			return 0
		}
		switch order.Do {
		case "run":
			pid, err := startJob(order.Argv)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			job = pid
			_ = events.Encode(Event{Kind: "started", PID: pid}) // a test that is gone needs no report
			go watchJob(pid, events)
		case "fg":
			giveTerminal(job)
			_ = unix.Kill(-job, unix.SIGCONT) // it may be gone; watchJob says so
		case "bg":
			_ = unix.Kill(-job, unix.SIGCONT)
		case "line":
			text, _ := lines.ReadString('\n')
			_ = events.Encode(Event{Kind: "line", Text: text})
		}
	}
}

func startJob(argv []string) (pid int, err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// watchJob waits for each stop and for the end of the job. The terminal goes
// back to the job shell before anybody hears of it.
func watchJob(pid int, events *json.Encoder) {
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			return
		}
		giveTerminal(unix.Getpgrp())
		if status.Stopped() {
			_ = events.Encode(Event{Kind: "stopped", PID: pid, Code: int(status.StopSignal())})
			continue
		}
		_ = events.Encode(Event{Kind: "exited", PID: pid, Code: Code(syscall.WaitStatus(status))})
		return
	}
}

// giveTerminal makes group the foreground process group. From the background
// that would send SIGTTOU, see tcsetpgrp(3); blocking it, on this thread alone,
// leaves no trace in the jobs.
func giveTerminal(group int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old) // cannot fail with these arguments
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, group) // the group may be gone
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}
