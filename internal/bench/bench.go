package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// bench is one run: what is measured, and where.
type bench struct {
	sizes   sizes
	began   time.Time
	tables  int    // still to come
	dir     string // private, gone afterwards
	machine string
	env     []string
	floor   floor
	client  string // path of darling-shell
	server  string // path of shellspawn
	daemon  *daemon
	peers   []subject
	summary summary

	once sync.Once
	ends []func() // what cleanUp calls, the last first
}

// prepare builds everything and starts the servers.
func prepare(short bool, binaries string) (b *bench, err error) {
	b = &bench{sizes: full, began: time.Now(), tables: tables, machine: describeMachine()}
	if short {
		b.sizes = quick
	}
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	b.atEnd(func() { _ = os.RemoveAll(b.dir) }) // what is left there harms nobody
	if err := adoptOrphans(); err != nil {
		return b, err
	}
	b.atEnd(killOrphans)
	defer func() {
		if err != nil {
			b.cleanUp()
		}
	}()
	b.env = environment(b.dir)
	if err := b.buildProduct(binaries); err != nil {
		return b, err
	}
	if b.floor, err = buildFloor(b.dir); err != nil {
		return b, err
	}
	if b.daemon, err = b.startDaemon("main"); err != nil {
		return b, err
	}
	b.atEnd(b.daemon.stop)
	b.findPeers()
	return b, nil
}

func (b *bench) atEnd(f func()) { b.ends = append(b.ends, f) }

func (b *bench) cleanUp() {
	b.once.Do(func() {
		for i := len(b.ends) - 1; i >= 0; i-- {
			b.ends[i]()
		}
	})
}

// limit is how long the rounds of the next table may take. On a busy machine it
// shrinks, so that a run ends in time whatever else goes on.
func (b *bench) limit() time.Duration {
	b.tables--
	left := (b.sizes.total - time.Since(b.began)) / time.Duration(max(b.tables, 1))
	return min(max(2*left, time.Second/2), b.sizes.limit)
}

// path names a file in the private directory.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// environment is the same wherever the benchmark runs. The home is empty, so
// that a login shell does what the machine asks for and nothing that its user
// does.
func environment(home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "TERM=xterm", "LANG=C.UTF-8", "SHELL=/bin/sh",
	}
}

// method says how to read the tables.
func (b *bench) method() string {
	text := "Each measure alternates between the floor and the others, round by round. A ratio is that of " +
		"the medians; in brackets the quartiles of the ratios of single rounds. The floor is " + b.floor.about +
		"; with a terminal it proxies between two ptys, as every subject does."
	if len(b.peers) > 0 {
		names := make([]string, len(b.peers))
		for i, p := range b.peers {
			names[i] = p.name
		}
		text += " Installed peers: " + strings.Join(names, ", ") + "."
	}
	return text
}

func matches(name, only string) bool { return strings.Contains(name, only) }

// title prints the heading of a measure.
func title(format string, args ...any) { fmt.Printf("## "+format+"\n\n", args...) }
