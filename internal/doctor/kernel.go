package doctor

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

// kernel starts a program, this one, the way the daemon does: that takes system calls which
// an old kernel does not have and a container may forbid.
func (p *patient) kernel() Finding {
	const check = "kernel"
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fail(check, "uname: "+err.Error(), "")
	}
	text := "Linux " + unix.ByteSliceToString(name.Release[:])
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	process, err := ptyexec.Start(ctx, ptyexec.Spec{Program: "/proc/self/exe", Args: []string{"shellspawn", "--version"}})
	if err != nil {
		return fail(check, text+": no program starts: "+err.Error(),
			"it takes Linux 5.11, and in a container a filter that allows clone, close_range and pidfds")
	}
	if _, err := process.Wait(); err != nil {
		return fail(check, text+": "+err.Error(), "")
	}
	return fine(check, "%s, programs start", text)
}
