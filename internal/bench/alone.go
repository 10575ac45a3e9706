package main

import (
	"fmt"
	"os"
	"time"
)

// daemonAlone takes how many programs the daemon starts per second if clients
// cost next to nothing, against a loop of vfork and exec, each with as many
// programs running at a time and each with a pty for every program or with none.
func (b *bench) daemonAlone() error {
	title("The daemon alone: starts of `true` per second, spoken to directly")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	t := newTable("at a time", "way", "floor starts/s", "daemon starts/s", "ratio to the floor")
	for _, most := range []int{1, 8} {
		pipes, pty := b.aloneSeries("pipes", most, null), b.aloneSeries("pty", most, null)
		alternate(b.sizes.series, b.limit(), append(pipes, pty...)...)
		for _, pair := range [][]*series{pipes, pty} {
			floor, ours := pair[0], pair[1]
			r := ours.got.ratioTo(floor.got)
			t.row(fmt.Sprint(most), ours.name, number(floor.got.median(), "%.0f"), number(ours.got.median(), "%.0f"), r.String())
			t.note(floor.failure())
			t.note(ours.failure())
			b.summary.add(fmt.Sprintf("daemon alone, %s, %d at a time, starts/s", ours.name, most), oursName, r.medians)
		}
	}
	t.print()
	return nil
}

// aloneSeries are the loop and the daemon, both with a pty for each program or both
// without.
func (b *bench) aloneSeries(way string, most int, null *os.File) []*series {
	return []*series{
		{name: floorName + ", " + way, run: single(func() (float64, error) { return b.loopRate(way, most) })},
		{name: way, run: single(func() (float64, error) { return b.daemonRate(int(null.Fd()), way == "pty", most) })},
	}
}

func (b *bench) loopRate(way string, most int) (float64, error) {
	n := b.sizes.starts
	argv := append(b.floor.loop[:len(b.floor.loop):len(b.floor.loop)], way, fmt.Sprint(n), fmt.Sprint(most), "/bin/true")
	began := time.Now()
	err := b.runQuietly(argv)
	return float64(n) / time.Since(began).Seconds(), err
}

func (b *bench) daemonRate(null int, terminal bool, most int) (float64, error) {
	p := b.newProtocol(b.daemon, terminal, null, "/bin/true")
	began := time.Now()
	err := p.run(b.sizes.starts, most)
	return float64(b.sizes.starts) / time.Since(began).Seconds(), err
}
