//go:build !linux || !(amd64 || arm64)

package ptyexec

import (
	"context"
	"errors"
)

// ErrUnsupported is what Start returns where this package does not work.
var ErrUnsupported = errors.New("ptyexec: only for Linux on amd64 and arm64")

// Spec has no content here.
type Spec struct{}

// Process is never made here.
type Process struct{}

// Start returns ErrUnsupported.
func Start(context.Context, Spec) (*Process, error) { return nil, ErrUnsupported }
