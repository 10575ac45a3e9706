package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// buildProduct builds the two programs the way they are shipped, or takes those
// that are there.
func (b *bench) buildProduct(binaries string) error {
	if binaries == "" {
		binaries = b.path("bin")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binaries+"/",
			"shellspawn/cmd/shellspawn", "shellspawn/cmd/darling-shell")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	binaries, err := filepath.Abs(binaries)
	if err != nil {
		return err
	}
	b.client = filepath.Join(binaries, "darling-shell")
	b.server = filepath.Join(binaries, "shellspawn")
	return nil
}
