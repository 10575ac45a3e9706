package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
)

// playFloor does what floor/*.c does, where there is no C compiler.
func playFloor(part string, args []string) int {
	switch {
	case part == "pipes" && len(args) > 0:
		return passStatus(exec.Command(args[0], args[1:]...))
	case part == "pty" && len(args) > 0:
		return playPty(args)
	case part == "gate" && len(args) > 0:
		return playGate(args)
	case part == "loop" && len(args) > 3:
		return playLoop(args)
	}
	return 2
}

func passStatus(cmd *exec.Cmd) int {
	if cmd.Stdin == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 125
}

// playPty proxies like floor/pty.c: the subsidiary is open in the child alone,
// so that the master reports the end.
func playPty(args []string) int {
	master, subsidiary, err := tty.NewPair()
	if err != nil {
		return 125
	}
	outer := tty.Open(0)
	if outer != nil {
		master.Configure(outer.Size(), outer.Settings())
		outer.Raw(false)
		defer outer.Restore()
	}
	inner := os.NewFile(uintptr(subsidiary), "pts")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inner, inner, inner
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return 127
	}
	_ = inner.Close() // the child has its own
	ptm := os.NewFile(uintptr(master.FD), "ptm")
	go func() { _, _ = io.Copy(ptm, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, ptm) // ends with EIO
	_ = cmd.Wait()                 // its state tells
	return max(cmd.ProcessState.ExitCode(), 0)
}

func playGate(args []string) int {
	unix.CloseOnExec(3)
	var b [1]byte
	for {
		if n, _ := unix.Read(3, b[:]); n == 0 {
			_ = syscall.Exec(args[0], args, os.Environ()) // returns only if it fails
			return 127
		}
	}
}

func playLoop(args []string) int {
	count, _ := strconv.Atoi(args[1]) // 0 starts nothing
	most, _ := strconv.Atoi(args[2])
	places := make(chan struct{}, max(most, 1))
	for range count {
		places <- struct{}{}
		wait, err := startOne(args[3:], args[0] == "pty")
		if err != nil {
			return 125
		}
		go func() {
			wait()
			<-places
		}()
	}
	for range cap(places) {
		places <- struct{}{}
	}
	return 0
}

// startOne starts one program of the loop. wait returns at its end.
func startOne(argv []string, terminal bool) (wait func(), err error) {
	attr := syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}
	release := func() {}
	if terminal {
		master, subsidiary, err := tty.NewPair()
		if err != nil {
			return nil, err
		}
		release = func() {
			_ = unix.Close(subsidiary) // nobody reads what it holds
			_ = unix.Close(master.FD)
		}
		fd := uintptr(subsidiary)
		attr.Files = []uintptr{fd, fd, fd}
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	pid, err := syscall.ForkExec(argv[0], argv, &attr)
	if err != nil {
		release()
		return nil, err
	}
	return func() {
		_, _ = syscall.Wait4(pid, nil, 0, nil) // nobody else waits for it
		release()
	}, nil
}
