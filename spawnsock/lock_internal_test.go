//go:build linux

package spawnsock

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// D5: the lock alone, without the socket behind it, is never held by two,
// although every holder removes the file and others are about to lock it.
func TestLockExcludes(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p, err := openPlace(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var holders atomic.Int32
	var wg sync.WaitGroup
	began := time.Now()
	for range 4 {
		wg.Go(func() {
			for time.Since(began) < 2*time.Second {
				l, err := takeLock(p)
				if errors.Is(err, ErrInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				holders.Add(-1)
				l.release()
			}
		})
	}
	wg.Wait()
}

// D5: a lock on a file that was removed is worth nothing, and its release does
// not take away the file of the next holder.
func TestLockFileRemoved(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p, err := openPlace(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	first, err := takeLock(p)
	if err != nil || !first.current() {
		t.Fatalf("first lock: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "s.lock")); err != nil {
		t.Fatal(err)
	}
	if first.current() {
		t.Error("a lock without its file is current")
	}
	second, err := takeLock(p)
	if err != nil {
		t.Fatal(err)
	}
	if first.current() || !second.current() {
		t.Error("the first lock is current, or the second is not")
	}
	first.release()
	if !second.current() {
		t.Error("the first holder removed the file of the second")
	}
	second.release()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
