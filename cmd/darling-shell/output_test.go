package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shellspawn/internal/spawntest"
)

// A1: a long output arrives to its last byte, every time.
func TestA1LongOutput(t *testing.T) {
	oneCPU := spawntest.Under("taskset", "-c", "0")
	for _, row := range []struct {
		name    string
		runs    int
		options []spawntest.Option
		rate    int
	}{
		{"usual", spawntest.Count(100, 300), nil, 0},
		{"daemon on one CPU", spawntest.Count(20, 300), []spawntest.Option{oneCPU}, 0},
		{"slow reader", 1, nil, 1 << 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
				d := spawntest.StartDaemon(t, append(row.options, spawntest.AsUser(who))...)
				want := numbers(t, d, "200000")
				for range row.runs/2 + 1 {
					term := spawntest.OpenTerminal(t, who)
					term.SlowTo(row.rate)
					if code := term.Start(d.Client("seq", "1", "200000")).Wait(); code != 0 {
						t.Errorf("status %d", code)
					}
					same(t, "output", printed(term), want)
					term.Close()
				}
			})
		})
	}
}

// A1: the shortest output arrives too. One terminal sees thousands of clients,
// one after the other, and a line end after each.
func TestA1ShortOutput(t *testing.T) {
	t.Parallel()
	runs := spawntest.Count(2000, 5000)
	d := spawntest.StartDaemon(t)
	term := spawntest.OpenTerminal(t, d.Who)
	term.Limit = 5 * time.Minute
	script := `for ((i = 0; i < $1; i++)); do "$2" printf x || exit; echo; done`
	term.Start(d.Command("bash", "-c", script, "bash", strconv.Itoa(runs), spawntest.ClientPath(t)))
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	same(t, "output", printed(term), bytes.Repeat([]byte("x\r\n"), runs))
}

// A1: what fits into the buffers stays in them after the program has ended, and
// comes out when the terminal is read again, however long that takes.
func TestA1PausedReader(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		term := spawntest.OpenTerminal(t, who)
		term.PauseReading()
		// A pty holds some 12 KiB: too much for the outer one, not for both.
		term.Start(d.Client("head", "-c", "18000", "/dev/zero"))
		spawntest.Eventually(t, "start of the program", func() bool { return len(d.Children()) > 0 || logs(d, "exit") })
		spawntest.Eventually(t, "end of the program", func() bool { return len(d.Children()) == 0 })
		spawntest.Quiet(t, term.PID())
		term.ResumeReading()
		if code := term.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
		same(t, "output", printed(term), make([]byte, 18000))
	})
}

// logs reports whether the daemon has logged an event.
func logs(d *spawntest.Daemon, event string) bool {
	return strings.Contains(d.Log(), "msg="+event+" ")
}

// A2: something in the background that keeps the pty or the pipe open does not
// delay the end, not even if it writes for ever.
func TestA2HolderDoesNotDelayTheEnd(t *testing.T) {
	holders := map[string]string{
		"idle":    `trap "" HUP; sleep 1000 & echo "holder $!."; exit 6`,
		"writing": `trap "" HUP; yes & echo "holder $!."; exit 6`,
	}
	for name, script := range holders {
		t.Run(name+" on a pty", func(t *testing.T) {
			spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
				_, term := start(t, who, "sh", "-c", script)
				holder, err := strconv.Atoi(term.Expect(`holder (\d+)\.`)[1])
				if err != nil {
					t.Fatal(err)
				}
				defer syscall.Kill(holder, syscall.SIGKILL)
				if code := term.Wait(); code != 6 {
					t.Errorf("status %d, want 6", code)
				}
				// The master is closed: who writes for ever gets an error and ends.
				if name == "writing" {
					spawntest.Eventually(t, "end of the writer", func() bool { return !spawntest.Alive(holder) })
				}
			})
		})
		t.Run(name+" on a pipe", func(t *testing.T) { holderOnPipe(t, script) })
	}
}

func holderOnPipe(t *testing.T, script string) {
	d := spawntest.StartDaemon(t)
	cmd := d.Client("sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(spawntest.Deadline, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	holder := holderOf(t, out)
	defer syscall.Kill(holder, syscall.SIGKILL)
	state, err := cmd.Process.Wait() // cmd.Wait would close the reading end
	if err != nil || state.ExitCode() != 6 {
		t.Errorf("ended with %v, %v, want status 6", state, err)
	}
	if !spawntest.Alive(holder) {
		t.Error("the holder was ended with the session")
	}
}

// holderOf reads "holder PID." from among what else comes.
func holderOf(t *testing.T, out io.Reader) int {
	t.Helper()
	var text []byte
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		text = append(text, buf[:n]...)
		if _, rest, ok := strings.Cut(string(text), "holder "); ok {
			if number, _, ok := strings.Cut(rest, "."); ok {
				pid, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
		if err != nil {
			t.Fatalf("no holder in %q: %v", text, err)
		}
	}
}

// A10: every byte value passes both ways, alone and in a crowd, and none of them
// is an escape.
func TestA10EveryByte(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		_, term := start(t, who, spawntest.Helper(t, "spawntest-rawecho"))
		term.Expect("READY")
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
			term.Send(string(all[i : i+1]))
			if got := term.ExpectBytes(1); got[0] != byte(i) {
				t.Errorf("byte %#x came back as %#x", i, got[0])
			}
		}
		crowd := bytes.Repeat(all, 100)
		go term.Send(string(crowd))
		same(t, "echo", term.ExpectBytes(len(crowd)), crowd)
		// What escape keys of other programs do: nothing.
		keys := "\r~.\r~?\x10\x11\x1d\x1c\x02d\x01d\x00"
		term.Send(keys)
		same(t, "echo", term.ExpectBytes(len(keys)), []byte(keys))
	})
}

// A10: 64 MiB of random bytes arrive intact in either direction.
func TestA10Bulk(t *testing.T) {
	t.Parallel()
	size := spawntest.Count(64, 64) << 20
	t.Run("out", func(t *testing.T) {
		_, term := start(t, spawntest.Self(), spawntest.Helper(t, "spawntest-random"), "7", strconv.Itoa(size))
		term.Limit = 3 * time.Minute
		if code := term.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
		want := make([]byte, size)
		_, _ = io.ReadFull(spawntest.Random(7), want) // never fails
		same(t, "output", printed(term), want)
	})
	t.Run("in", func(t *testing.T) {
		_, term := start(t, spawntest.Self(), spawntest.Helper(t, "spawntest-rawsink"), strconv.Itoa(size))
		term.Limit = 3 * time.Minute
		term.Expect("READY")
		hash := sha256.New()
		input := io.TeeReader(io.LimitReader(spawntest.Random(8), int64(size)), hash)
		for chunk := make([]byte, 1<<20); ; {
			n, err := io.ReadFull(input, chunk)
			term.Send(string(chunk[:n]))
			if err != nil {
				break
			}
		}
		term.Expect(fmt.Sprintf("%x", hash.Sum(nil)))
		if code := term.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	})
}

// A12: a large paste into a program that echoes, to a reader that is slow,
// neither deadlocks nor loses a byte. All buffers on the way are full within the
// first second, so the usual run lets the reader be slow for a while only.
func TestA12Paste(t *testing.T) {
	t.Parallel()
	_, term := start(t, spawntest.Self(), spawntest.Helper(t, "spawntest-rawecho"))
	term.Limit = 5 * time.Minute
	term.Expect("READY")
	paste := make([]byte, 1<<20)
	_, _ = io.ReadFull(spawntest.Random(12), paste) // never fails
	term.SlowTo(10 << 10)
	go term.Send(string(paste))
	slow := spawntest.Count(100<<10, len(paste))
	got := append([]byte(nil), term.ExpectBytes(slow)...)
	term.SlowTo(0)
	got = append(got, term.ExpectBytes(len(paste)-slow)...)
	same(t, "echo", got, paste)
}

// A13: a reader that stops is back-pressure for its own shell alone: memory
// stays as it is, others go on, and nothing is missing afterwards.
func TestA13StoppedReader(t *testing.T) {
	d := spawntest.StartDaemon(t)
	want := numbers(t, d, "2000000")
	term := spawntest.OpenTerminal(t, d.Who)
	term.PauseReading()
	term.Start(d.Client("seq", "1", "2000000"))
	spawntest.Eventually(t, "start of the program", func() bool { return len(d.Children()) > 0 })
	program := d.Children()[0].PID
	spawntest.Quiet(t, program)
	client, daemon := spawntest.ResidentKiB(term.PID()), spawntest.ResidentKiB(d.PID)
	if out, _, code := d.Run(nil, "echo", "alive"); string(out) != "alive\n" || code != 0 {
		t.Errorf("another shell printed %q, status %d", out, code)
	}
	term.ResumeReading()
	spawntest.Eventually(t, "half of the output", func() bool { return len(term.Output()) > len(want)/2 })
	term.PauseReading()
	spawntest.Quiet(t, program)
	if now := spawntest.ResidentKiB(term.PID()); now > client+4<<10 || now > 64<<10 && !spawntest.Race() {
		t.Errorf("the client grew from %d to %d KiB", client, now)
	}
	if now := spawntest.ResidentKiB(d.PID); now > daemon+4<<10 {
		t.Errorf("the daemon grew from %d to %d KiB", daemon, now)
	}
	term.ResumeReading()
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	same(t, "output", printed(term), want)
}

// A17: EIO on the master is how every pty session ends, and nobody hears of it.
func TestA17NoEIO(t *testing.T) {
	d, term := start(t, spawntest.Self(), "-v", "sh", "-c", "echo one; exec sleep 0.01")
	term.Wait()
	_, errs, _ := d.Run(nil, "-t", "echo", "two")
	for what, text := range map[string]string{"terminal": string(term.Output()), "stderr": string(errs), "log": d.Log()} {
		if strings.Contains(text, "input/output error") || strings.Contains(text, "EIO") {
			t.Errorf("%s: %q", what, text)
		}
	}
}

// A17, A1: nor does it come while the leader lives, who may close the terminal and
// open it again. What he writes then arrives.
func TestA17OpenedAgain(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `exec </dev/null >/dev/null 2>&1; : >closed
		while [ ! -e open ]; do sleep 0.01; done; seq 20000 >/dev/tty`
	cmd := d.Client("-t", "-C", d.Dir, "sh", "-c", script)
	cmd.Stdin = nil
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(spawntest.Deadline, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	spawntest.Eventually(t, "closed terminal", func() bool {
		_, err := os.Stat(filepath.Join(d.Dir, "closed"))
		return err == nil
	})
	spawntest.Quiet(t, cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(d.Dir, "open"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "\r\n"); n != 20000 || !strings.HasSuffix(out.String(), "\n20000\r\n") {
		t.Errorf("%d lines, the last ones %q", n, out.String()[max(0, out.Len()-20):])
	}
}
