package userdb

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// reader loads one file and counts how often it was parsed.
type reader struct {
	path   string
	file   cachedFile[string]
	parsed int
}

func (r *reader) load(t *testing.T) string {
	t.Helper()
	got, err := r.file.load(r.path, func(data []byte) string {
		r.parsed++
		return string(data)
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func newReader(t *testing.T, text string) *reader {
	r := &reader{path: filepath.Join(t.TempDir(), "file")}
	if err := os.WriteFile(r.path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

// settle loads until the contents are kept, which takes as long as a change may
// hide behind an unmoved time stamp.
func (r *reader) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		before := r.parsed
		r.load(t)
		if r.parsed == before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an unchanged file is read again and again")
		}
	}
}

func TestReadOnlyWhenChanged(t *testing.T) {
	r := newReader(t, "one")
	r.settle(t)
	before := r.parsed
	for range 100 {
		r.load(t)
	}
	if r.parsed != before {
		t.Errorf("read %d times more though nothing changed", r.parsed-before)
	}
}

// What was changed a moment ago may change again without a trace in the time
// stamps, so it is not kept yet.
func TestJustChanged(t *testing.T) {
	start := time.Now()
	r := newReader(t, "one")
	r.load(t)
	r.load(t)
	if r.parsed != 2 && time.Since(start) < settleTime {
		t.Errorf("read %d times in two look-ups right after a change, want 2", r.parsed)
	}
}

// Same size, same inode, and a time of modification that was set back.
func TestChangeInPlace(t *testing.T) {
	r := newReader(t, "one")
	r.settle(t)
	old, err := os.Stat(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path, []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(r.path, old.ModTime(), old.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := r.load(t); got != "two" {
		t.Errorf("got %q after the change, want two", got)
	}
}

// Changes faster than the clock of the time stamps.
func TestChangesInOneTick(t *testing.T) {
	r := newReader(t, "")
	for i := range 200 {
		want := string(rune('a' + i%26))
		if err := os.WriteFile(r.path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := r.load(t); got != want {
			t.Fatalf("change %d: got %q, want %q", i, got, want)
		}
	}
}

func TestReplacedAndRemoved(t *testing.T) {
	r := newReader(t, "one")
	r.settle(t)
	if err := os.WriteFile(r.path+".new", []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.path+".new", r.path); err != nil {
		t.Fatal(err)
	}
	if got := r.load(t); got != "two" {
		t.Errorf("got %q after the replacement, want two", got)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if got := r.load(t); got != "" {
		t.Errorf("got %q after the removal, want nothing", got)
	}
}
