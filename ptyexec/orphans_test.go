package ptyexec_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() { helpers["subreaper"] = startAndReap }

// startAndReap is a daemon that inherits orphans. It starts programs that leave
// one behind each, reaps as a daemon would, and checks that it takes nothing that
// is somebody else's.
func startAndReap() {
	const n = 200
	check(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil, "subreaper")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	stop, reaped := make(chan bool), make(chan int)
	go func() {
		total := 0
		for {
			select {
			case <-ended:
				total += ptyexec.ReapOrphans()
			case <-stop:
				reaped <- total
				return
			}
		}
	}()

	var all sync.WaitGroup
	places := make(chan bool, 8)
	for i := range n {
		places <- true
		all.Go(func() {
			code := i % 100
			if i%10 == 0 {
				_, err := ptyexec.Start(context.Background(), ptyexec.Spec{Program: "/nonexistent"})
				check(err != nil && strings.HasSuffix(err.Error(), "no such file or directory"), "%v", err)
			}
			p, err := ptyexec.Start(context.Background(), sh(fmt.Sprintf("sh -c 'exit 5' & exit %d", code)))
			check(err == nil, "start: %v", err)
			status, err := p.Wait()
			check(err == nil && status.Shell() == code, "%v %v, want %d", status, err, code)
			<-places
		})
	}
	all.Wait()

	// Some of the shells will have reaped their own, none may be left.
	for unix.Kill(-1, 0) == nil && children() {
		_ = ptyexec.ReapOrphans()
	}
	stop <- true
	fmt.Println("reaped", <-reaped > 0)
	check(ptyexec.ReapOrphans() == 0, "no children, but orphans")
}

// children reports whether this process has any, dead or alive.
func children() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != unix.ECHILD
}

func TestReapOrphans(t *testing.T) { // B9
	got, status := output(t, helper("subreaper"))
	if got != "reaped true\n" || status != 0 {
		t.Errorf("got %q, %v", got, status)
	}
}
