package daemon

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock"
)

// Hint says what to try about an error of New, Open, Serve or StartBackground, or
// nothing.
func Hint(err error) string {
	var failed *startFailure
	switch {
	case errors.As(err, &failed):
		return failed.hint
	case errors.Is(err, spawnsock.ErrInUse):
		return "'shellspawn status' with the same --socket shows that daemon, 'shellspawn stop' ends it"
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory, or name another path"
	case errors.Is(err, unix.EACCES):
		return "name a path in a directory of your own"
	}
	return ""
}
