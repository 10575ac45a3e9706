package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// writePIDFile writes the process id to path. The name appears with the number in
// it, or not at all.
func writePIDFile(path string) error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	aside := path + "." + strconv.Itoa(os.Getpid())
	err := mayReplace(path)
	if err == nil {
		err = writeNew(aside, text)
	}
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		_ = os.Remove(aside) // the first error is the one that matters
		return fmt.Errorf("write pid file %s: %w", path, plainError(err))
	}
	return nil
}

// writeNew writes a file that was not there before. What has its name was left by a
// process with our pid, or put there by somebody who may write to the directory and wants
// the text to go elsewhere: it is taken away and never written through.
func writeNew(path, text string) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) && os.Remove(path) == nil {
		file, err = os.OpenFile(path, flags, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// mayReplace refuses what is there and is not a pid file: a path may be misspelt, and
// root may replace everything.
func mayReplace(path string) error {
	text, err := readPIDFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := strconv.Atoi(text); err != nil && text != "" {
		return errNoPIDFile
	}
	return nil
}

// readPIDFile reads a regular file only: one of another kind may block for ever.
func readPIDFile(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errNoPIDFile
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

var errNoPIDFile = errors.New("file exists and is no pid file")

// plainError takes off the name that a file operation put on its error.
func plainError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// removePIDFile removes the file if it is still this process's.
func removePIDFile(path string) {
	text, err := readPIDFile(path)
	if err == nil && text == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(path) // a number left behind names no process of ours
	}
}
