// Command bench measures what it costs to run a program through shellspawn, as
// ratios to a floor: a small C program that does the same without a daemon. It
// prints Markdown. Floor, product and whichever other programs of the kind are
// installed take turns within one run, so that what else the machine does
// meets all of them alike.
//
//	go run ./internal/bench [-short] [-update README.md]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == floorWord {
		os.Exit(playFloor(os.Args[2], os.Args[3:]))
	}
	short := flag.Bool("short", false, "a quick look: few rounds, small numbers")
	only := flag.String("only", "", "run the measures whose names contain this")
	update := flag.String("update", "", "rewrite the table of ratios in this `file`")
	binaries := flag.String("bin", "", "measure the programs in this `directory` and build none")
	flag.Parse()
	if err := run(*short, *only, *update, *binaries); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run takes no time into its verdict: it fails if a measure could not be taken,
// never for how it came out.
func run(short bool, only, update, binaries string) error {
	b, err := prepare(short, binaries)
	if err != nil {
		return err
	}
	defer b.cleanUp()
	go b.cleanUpOnSignal()
	end := time.AfterFunc(time.Until(b.began.Add(b.sizes.end)), b.giveUp)
	defer end.Stop()
	fmt.Printf("# What it costs\n\n%s\n\n%s\n\n", b.machine, b.method())
	for _, m := range measures {
		if matches(m.name, only) {
			b.measure(m)
		}
	}
	fmt.Printf("Taken in %.0f s.\n", time.Since(b.began).Seconds())
	if update == "" {
		return nil
	}
	return updateReadme(update, b.readmeTable())
}

// measure is one thing to measure; take prints its tables.
type measure struct {
	name string
	take func(*bench) error
}

var measures = []measure{
	{"one-shot", (*bench).oneShot},
	{"burst", (*bench).burst},
	{"daemon", (*bench).daemonAlone},
	{"throughput", (*bench).throughput},
	{"paste", (*bench).paste},
	{"echo", (*bench).echo},
	{"idle", (*bench).idle},
}

// measure says in the output if a measure could not be taken, and goes on.
func (b *bench) measure(m measure) {
	if err := m.take(b); err != nil {
		fmt.Printf("%s: not measured: %v\n\n", m.name, err)
	}
	reapOrphans()
}

// giveUp ends a run that takes too long, whatever it hangs in. What was printed stands.
func (b *bench) giveUp() {
	fmt.Fprintf(os.Stderr, "bench: not done after %v\n", b.sizes.end)
	b.cleanUp()
	os.Exit(1)
}

// cleanUpOnSignal keeps an interrupted run from leaving servers behind.
func (b *bench) cleanUpOnSignal() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	<-ch
	b.cleanUp()
	os.Exit(1)
}
