// Package ptyexec starts a program as the leader of a new session: on a fresh pty
// that is its controlling terminal, or on three given descriptors.
//
// It differs from os/exec in what it takes care of. The terminal is the session's
// before the program runs, with its size, settings, owner and mode in place, and
// is never stolen from another session. User, groups, directory and umask are set
// in the one right order, and an error names the step that failed. The
// program has all signals at their default, no stray descriptors, and the limits
// this process was itself started with. A start that hangs can be given up,
// and holds up nothing else. Waiting costs a goroutine and no thread.
//
// It needs Linux 5.11 and leaves to others what the user is called and is allowed
// to do, what the environment should hold, and the copying of bytes: the caller gets
// the pty master as a plain descriptor.
//
//	p, err := ptyexec.Start(ctx, ptyexec.Spec{
//		Program:  "sh",
//		Env:      []string{"TERM=xterm", "PATH=/usr/bin:/bin"},
//		Dir:      "/",
//		Terminal: &ptyexec.Terminal{Size: unix.Winsize{Row: 24, Col: 80}},
//	})
//	if err != nil {
//		return err // exec sh: no such file or directory
//	}
//	master := os.NewFile(uintptr(p.TakeMaster()), "pty")
//	go io.Copy(os.Stdout, master)
//	status, err := p.Wait()
//
// Every Process must be waited for, and the master that was taken be closed. A
// process that inherits orphans calls ReapOrphans.
package ptyexec
