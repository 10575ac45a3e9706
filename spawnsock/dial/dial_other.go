//go:build !linux

package dial

import (
	"syscall"
	"time"
)

// Connect is available on Linux only; here it fails with ENOSYS.
func Connect(path string, _ time.Duration, _ bool) (fd int, waited time.Duration, err error) {
	return -1, 0, &Error{"connect", path, syscall.ENOSYS}
}
