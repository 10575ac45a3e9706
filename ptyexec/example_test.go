package ptyexec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

// A program on a terminal of its own. Nobody types, and all that it prints is read.
func ExampleStart() {
	p, err := ptyexec.Start(context.Background(), ptyexec.Spec{
		Program:  "sh",
		Args:     []string{"sh", "-c", "test -t 0 && stty size; exit 3"},
		Env:      []string{"PATH=/usr/bin:/bin"},
		Dir:      "/",
		Terminal: &ptyexec.Terminal{Size: unix.Winsize{Row: 24, Col: 80}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	master := os.NewFile(uintptr(p.TakeMaster()), "pty master")
	defer master.Close()
	output := make(chan string)
	go func() {
		text, err := io.ReadAll(master)
		if !errors.Is(err, unix.EIO) { // how a master says that it is over
			fmt.Println(err)
		}
		output <- strings.TrimSpace(string(text))
	}()
	status, err := p.Wait()
	fmt.Println(<-output)
	fmt.Println(status, err)
	// Output:
	// 24 80
	// exit status 3 <nil>
}

// A program on descriptors of this process, and what an error looks like.
func ExampleStart_descriptors() {
	r, w, err := os.Pipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	p, err := ptyexec.Start(context.Background(), ptyexec.Spec{
		Program: "/bin/echo",
		Args:    []string{"echo", "hello"},
		Stdio:   &[3]int{-1, int(w.Fd()), int(w.Fd())},
	})
	w.Close() // the program has its own; else there would be no end of file
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := io.ReadAll(r)
	status, _ := p.Wait()
	fmt.Printf("%q %v\n", text, status)

	_, err = ptyexec.Start(context.Background(), ptyexec.Spec{Program: "no-such-program"})
	fmt.Println(err)
	// Output:
	// "hello\n" exit status 0
	// exec no-such-program: no such file or directory
}
