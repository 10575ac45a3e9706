//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxName is the longest path that fits sun_path with its closing NUL, unix(7).
const maxName = 107

// place is where a socket file is or will be: a name in a directory that is
// held open, so that neither chdir(2) nor a renamed parent leads elsewhere.
type place struct {
	path string // absolute
	dir  int    // O_PATH descriptor of the directory
	base string
}

// fileID tells one inode from another. It is good for as long as the inode is
// in use, and a bound socket uses its inode until it is closed.
type fileID struct {
	dev, ino uint64
}

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// openPlace opens the directory of path. The caller closes the place.
func openPlace(path string) (*place, error) {
	if path == "" || strings.HasPrefix(path, "@") || strings.IndexByte(path, 0) >= 0 {
		return nil, errors.New("not a path in the file system")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, "/") || abs == "/" {
		return nil, unix.EISDIR
	}
	dir, err := openDir(filepath.Dir(abs))
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", filepath.Dir(abs), err)
	}
	return &place{path: abs, dir: dir, base: filepath.Base(abs)}, nil
}

func openDir(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (p *place) close() { _ = unix.Close(p.dir) } // O_PATH: nothing to lose

// check refuses a directory in which somebody else could replace the socket:
// one that belongs to neither root nor us, and one that its group or everybody
// may write to, unless it is sticky and root's as /tmp is.
func (p *place) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(p.dir, &st); err != nil {
		return fmt.Errorf("directory %s: %w", filepath.Dir(p.path), err)
	}
	open := st.Mode&0o022 != 0
	sticky := st.Mode&unix.S_ISVTX != 0
	switch {
	case st.Uid != 0 && st.Uid != uint32(unix.Geteuid()):
		return fmt.Errorf("directory %s belongs to uid %d, who could replace the socket",
			filepath.Dir(p.path), st.Uid)
	case open && !(sticky && st.Uid == 0):
		return fmt.Errorf("directory %s may be written to by others (mode %04o), who could replace the socket",
			filepath.Dir(p.path), st.Mode&0o7777)
	}
	return nil
}

// address is what bind(2) and connect(2) take to reach name in the directory:
// the path itself where it fits, so that ss(8) and fuser(1) show it, and
// otherwise a way through our descriptor of the directory. It is empty if not
// even that fits.
func (p *place) address(name string) string {
	long := filepath.Join(filepath.Dir(p.path), name)
	if len(long) <= maxName {
		return long
	}
	short := "/proc/self/fd/" + strconv.Itoa(p.dir) + "/" + name
	if len(short) <= maxName {
		return short
	}
	return ""
}

// stat looks at name in the directory without following a link.
func (p *place) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// holds says whether the name leads to the inode id.
func (p *place) holds(id fileID) (bool, error) {
	st, err := p.stat(p.base)
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil && idOf(&st) == id, err
}

// remove takes the name away if it leads to the inode id.
func (p *place) remove(id fileID) error {
	ours, err := p.holds(id)
	if !ours {
		return err
	}
	return unix.Unlinkat(p.dir, p.base, 0)
}
