package daemon

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock"
)

// Hint says what to try about an error of New, Open, Serve or StartBackground, or
// nothing.
func Hint(err error) string {
	var failed *startFailure
	var file *fs.PathError
	isFile := errors.As(err, &file)
	switch {
	case errors.As(err, &failed):
		return failed.hint
	case isFile && strings.HasPrefix(file.Path, "/proc/"):
		return "--background needs /proc, which is not mounted here as it should be; in the foreground 'shellspawn serve' does without"
	case isFile && file.Path == os.DevNull:
		return "every machine has that file: mount or fill /dev"
	case errors.Is(err, spawnsock.ErrInUse):
		return "'shellspawn status' with the same --socket shows that daemon, 'shellspawn stop' ends it"
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory, or name another path"
	case errors.Is(err, unix.EACCES):
		return "name a path in a directory of your own"
	}
	return ""
}
