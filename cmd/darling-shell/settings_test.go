package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// A4: the size is right before the program runs, pixels included.
func TestA4FirstSize(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		term := spawntest.OpenTerminal(t, who)
		term.Resize(33, 111, 999, 777)
		term.Start(d.Client(spawntest.Helper(t, "spawntest-winsize")))
		if got := term.Expect(`size (.*)\.`)[1]; got != "33 111 999 777" {
			t.Errorf("first size %s", got)
		}
		term.Send("\n")
		term.Wait()
	})
}

// A4: so it is with many clients at once, each with a size of its own.
func TestA4ManyAtOnce(t *testing.T) {
	d := spawntest.StartDaemon(t)
	terminals := make([]*spawntest.Terminal, spawntest.Count(500, 500))
	for i := range terminals {
		terminals[i] = spawntest.OpenTerminal(t, d.Who)
		terminals[i].Limit = 2 * time.Minute
		terminals[i].Resize(10+i%7, 100+i, 0, 0)
	}
	for _, term := range terminals {
		term.Start(d.Client("stty", "size"))
	}
	for i, term := range terminals {
		if code := term.Wait(); code != 0 {
			t.Errorf("client %d: status %d", i, code)
		}
		same(t, fmt.Sprintf("client %d", i), printed(term), fmt.Appendf(nil, "%d %d\r\n", 10+i%7, 100+i))
	}
}

// A5: a resize at any moment of the start-up is not lost: the last size wins.
func TestA5ResizeDuringStart(t *testing.T) {
	d := spawntest.StartDaemon(t)
	runs := spawntest.Count(60, 300)
	for i := range runs {
		term := onTerminal(t, d, spawntest.Helper(t, "spawntest-winsize"))
		// The moments are spread over the time that a start takes.
		for step := range 1 + i%20 {
			term.Resize(30+step, 90, 0, 0)
			time.Sleep(time.Millisecond)
		}
		last := fmt.Sprintf("%d %d 5 6", 60+i%40, 100+i)
		term.Resize(60+i%40, 100+i, 5, 6)
		term.Expect(`size ` + last + `\.`)
		term.Send("\n")
		if code := term.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
		term.Close()
	}
}

// A5: SIGWINCH reaches the program with no key pressed, and a storm of resizes
// ends at the right size.
func TestA5Resize(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		_, term := start(t, who, spawntest.Helper(t, "spawntest-winsize"))
		term.Expect(`size 24 80 0 0\.`)
		term.Resize(40, 132, 1, 2)
		term.Expect(`size 40 132 1 2\.`)
		ticks := time.NewTicker(2 * time.Millisecond)
		defer ticks.Stop()
		for i := range 500 {
			<-ticks.C
			term.Resize(100+i%3, 200+i%5, 0, 0)
		}
		term.Resize(77, 177, 3, 4)
		term.Expect(`size 77 177 3 4\.`)
		spawntest.Quiet(t, term.PID())
		if !bytes.HasSuffix(bytes.TrimRight(term.Output(), "\r\n"), []byte("size 77 177 3 4.")) {
			t.Errorf("another size came after the last one: %q", term.Output()[len(term.Output())-80:])
		}
	})
}

// A6: a terminal without a size is passed on as it is.
func TestA6NoSize(t *testing.T) {
	d := spawntest.StartDaemon(t)
	term := spawntest.OpenTerminal(t, d.Who)
	term.Resize(0, 0, 0, 0)
	term.Start(d.Client(spawntest.Helper(t, "spawntest-winsize")))
	term.Expect(`size 0 0 0 0\.`)
	term.Resize(10, 20, 0, 0)
	term.Expect(`size 10 20 0 0\.`)
	term.Resize(0, 0, 0, 0)
	term.Expect(`size 0 0 0 0\.`)
	term.Send("\n")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// A11: the program finds the settings that the user's terminal had.
func TestA11Settings(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		for _, name := range []string{"unusual", "usual"} {
			term := spawntest.OpenTerminal(t, who)
			want := term.Settings()
			if name == "unusual" {
				want = unusual(term)
			}
			term.Start(d.Client(spawntest.Helper(t, "spawntest-termios")))
			var got unix.Termios
			if err := json.Unmarshal([]byte(term.Expect(`\{.*\}`)[0]), &got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s settings inside\n%+v, want\n%+v", name, got, want)
			}
			term.Wait()
		}
	})
}

// A11: without an outer terminal the pty expects UTF-8.
func TestA11WithoutTerminal(t *testing.T) {
	d := spawntest.StartDaemon(t)
	out, errs, code := d.Run(nil, "-t", "stty", "-a")
	if code != 0 || !strings.Contains(string(out), " iutf8") {
		t.Errorf("status %d, %q, %q", code, out, errs)
	}
}

// A18: what describes the terminal and the language arrives, also in a clean
// environment.
func TestA18Environment(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Env("TERM=wrong", "LC_ALL=wrong", "DAEMONS=own"))
		vars := []string{"TERM=screen-256color", "COLORTERM=truecolor", "LANG=de_DE.UTF-8", "LC_TIME=C", "LC_PAPER=x"}
		for _, args := range [][]string{{"env"}, {"-i", "env"}, {"-t", "env"}, {"-E", "env"}} {
			cmd := d.Client(args...)
			cmd.Env = append(cmd.Env, vars...)
			out, errs, code := d.Collect(cmd, nil)
			if code != 0 {
				t.Fatalf("%q: status %d, %s", args, code, errs)
			}
			lines := strings.Split(strings.ReplaceAll(string(out), "\r\n", "\n"), "\n")
			for _, want := range vars {
				if !slices.Contains(lines, want) {
					t.Errorf("%q: no %s in %q", args, want, lines)
				}
			}
			if strings.Contains(string(out), "wrong") || strings.Contains(string(out), "DAEMONS") {
				t.Errorf("%q: the daemon's environment is in %q", args, lines)
			}
		}
	})
}
