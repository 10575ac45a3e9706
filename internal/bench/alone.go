package main

import (
	"fmt"
	"os"
	"time"
)

// daemonAlone takes how many programs the daemon starts per second if clients
// cost next to nothing, against a loop of vfork and exec, each with as many
// programs running at a time.
func (b *bench) daemonAlone() error {
	title("The daemon alone: starts of `true` per second, spoken to directly")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	t := newTable("at a time", "subject", "starts/s", "ratio to vfork+exec")
	for _, most := range []int{1, 8} {
		all := []*series{
			{name: floorName, run: single(func() (float64, error) { return b.loopRate(most) })},
			{name: "pipes", run: single(func() (float64, error) { return b.daemonRate(int(null.Fd()), false, most) })},
			{name: "pty", run: single(func() (float64, error) { return b.daemonRate(int(null.Fd()), true, most) })},
		}
		alternate(b.sizes.series, b.limit(), all...)
		for _, s := range all {
			r := s.got.ratioTo(all[0].got)
			t.row(fmt.Sprint(most), s.name, number(s.got.median(), "%.0f"), r.String())
			t.note(s.failure())
			if s.name != floorName {
				b.summary.add(fmt.Sprintf("daemon alone, %s, %d at a time, starts/s", s.name, most), oursName, r.medians)
			}
		}
	}
	t.print()
	return nil
}

func (b *bench) loopRate(most int) (float64, error) {
	n := b.sizes.starts
	argv := append(b.floor.loop[:len(b.floor.loop):len(b.floor.loop)], fmt.Sprint(n), fmt.Sprint(most), "/bin/true")
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
