package userdb

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how old a change must be before the contents read after it are
// kept. Time stamps move in steps of a few milliseconds, so a file that was
// changed just now can change once more without any of them moving.
const settleTime = time.Second

// cachedFile is one file, parsed, and what the file was when it was read.
type cachedFile[T any] struct {
	mu      sync.Mutex
	valid   bool
	version version
	value   T
}

// version tells one state of a file from every other. A replaced file has
// another inode; ctime moves even where a tool sets mtime back.
type version struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// load returns the parsed file, read again only if it is not the version that
// was read last. A file that does not exist counts as empty. The value is
// shared and must not be changed.
func (c *cachedFile[T]) load(path string, parse func([]byte) T) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var st unix.Stat_t
	if c.valid && unix.Stat(path, &st) == nil && versionOf(&st) == c.version {
		return c.value, nil
	}
	data, now, err := readVersion(path)
	if err != nil {
		c.valid = false
		var none T
		return none, err
	}
	c.value, c.version = parse(data), now
	changed := time.Unix(now.ctime.Unix())
	c.valid = now != version{} && time.Since(changed) > settleTime
	return c.value, nil
}

// readVersion reads a file and the version of what was read, which it takes
// from the open file and not from the name, where another may stand by then. It
// takes it before reading: a change meanwhile then shows at the next look.
func readVersion(path string) ([]byte, version, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err == unix.ENOENT {
		return nil, version{}, nil
	}
	if err != nil {
		return nil, version{}, fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, version{}, fmt.Errorf("fstat %s: %w", path, err)
	}
	data, err := io.ReadAll(f)
	return data, versionOf(&st), err
}

func versionOf(st *unix.Stat_t) version {
	return version{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}
