//go:build !linux

package spawnsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Listener is available on Linux only.
type Listener struct{ net.UnixListener }

// Listen is available on Linux only; here it fails with errors.ErrUnsupported.
func Listen(path string, _ Options) (*Listener, error) {
	return nil, fmt.Errorf("listen %s: %w", path, errors.ErrUnsupported)
}

// Adopt is available on Linux only; here it fails with errors.ErrUnsupported.
func Adopt(f *os.File, _ Options) (*Listener, error) {
	return nil, fmt.Errorf("adopt %s: %w", f.Name(), errors.ErrUnsupported)
}

// Dial is available on Linux only; here it fails with errors.ErrUnsupported.
func Dial(_ context.Context, path string) (*net.UnixConn, error) {
	return nil, fmt.Errorf("connect %s: %w", path, errors.ErrUnsupported)
}

// PeerCred is available on Linux only; here it fails with errors.ErrUnsupported.
func PeerCred(*net.UnixConn) (Cred, error) { return Cred{}, errors.ErrUnsupported }

// PeerGroups is available on Linux only; here it fails with errors.ErrUnsupported.
func PeerGroups(*net.UnixConn) ([]uint32, error) { return nil, errors.ErrUnsupported }
