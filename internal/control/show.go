package control

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"shellspawn/internal/wire"
)

// writeStatus prints a page of a few lines, the last of which says what to
// change, if anything.
func writeStatus(w io.Writer, s *wire.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "shellspawn\t%s, pid %d, up %s\n", printable(s.Version), s.PID, age(s.UptimeSeconds))
	fmt.Fprintf(t, "socket\t%s\n", printable(s.Socket))
	fmt.Fprintf(t, "backlog\t%s\n", backlogText(s.Backlog))
	fmt.Fprintf(t, "queue\t%s\n", queueText(s.Queue))
	fmt.Fprintf(t, "shells\t%d running, %d started so far\n", s.Shells.Running, s.Shells.Total)
	if len(s.Shells.Refused) > 0 {
		fmt.Fprintf(t, "refused\t%s\n", counts(s.Shells.Refused))
	}
	if len(s.AcceptErrors) > 0 {
		fmt.Fprintf(t, "accept errors\t%s\n", counts(s.AcceptErrors))
	}
	if text := advice(s); text != "" {
		fmt.Fprintf(t, "advice\t%s\n", text)
	}
	return t.Flush() // keeps the first error of the lines above
}

func backlogText(b wire.Backlog) string {
	text := fmt.Sprintf("%d asked for, %d in effect; net.core.somaxconn is ", b.Asked, b.Effective)
	if b.Somaxconn == 0 { // the daemon cannot read it
		return text + "unknown"
	}
	return text + fmt.Sprint(b.Somaxconn)
}

func queueText(q wire.Queue) string {
	text := fmt.Sprintf("%d waiting now, %d at the peak; ", q.Now, q.Peak)
	if q.Waited == 0 {
		return text + "no client found it full"
	}
	longest := time.Duration(q.LongestWaitSeconds * float64(time.Second)).Round(time.Millisecond)
	return text + fmt.Sprintf("%s found it full and waited up to %s", count(q.Waited, "client"), longest)
}

// advice is one line about the accept queue, or nothing if it is long enough.
func advice(s *wire.Status) string {
	b, q := s.Backlog, s.Queue
	if text := clampAdvice(b); text != "" {
		return text
	}
	// Three quarters full is near enough to be full the next time.
	if b.Effective == 0 || q.Waited == 0 && 4*q.Peak < 3*b.Effective {
		return ""
	}
	want := 2 * max(b.Effective, q.Peak)
	text := fmt.Sprintf("the accept queue was full or nearly so: 'shellspawn backlog %d' makes it longer", want)
	if want > b.Somaxconn {
		text = fmt.Sprintf("the accept queue was full or nearly so: 'sysctl -w net.core.somaxconn=%d', then 'shellspawn backlog %d' make it longer", want, want)
	}
	return text
}

// clampAdvice says what to do about a backlog that the kernel cut.
func clampAdvice(b wire.Backlog) string {
	switch {
	case b.Asked <= b.Effective:
		return ""
	case b.Asked <= b.Somaxconn:
		return fmt.Sprintf("net.core.somaxconn was raised since: 'shellspawn backlog %d', or SIGHUP, makes use of it", b.Asked)
	}
	return fmt.Sprintf("the kernel cut the backlog: 'sysctl -w net.core.somaxconn=%d', then 'shellspawn backlog %d'", b.Asked, b.Asked)
}

// widestProgram leaves a row on one line of a terminal of 100 columns or so.
const widestProgram = 40

// writeList prints a table, or nothing if there is no shell.
func writeList(w io.Writer, rows []wire.Row) error {
	if len(rows) == 0 {
		return nil
	}
	table := [][]string{{"ID", "USER", "PID", "TTY", "PROGRAM", "AGE", "CLIENT", "STATE"}}
	for _, r := range rows {
		table = append(table, []string{
			fmt.Sprint(r.ID), printable(r.User), fmt.Sprint(r.PID),
			orDash(printable(strings.TrimPrefix(r.TTY, "/dev/"))),
			shorten(printable(r.Program), widestProgram), age(r.AgeSeconds), fmt.Sprint(r.ClientPID), printable(r.State),
		})
	}
	return writeTable(w, table)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is a time span in its two largest units.
func age(seconds int64) string {
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case minutes == 0:
		return fmt.Sprintf("%ds", seconds)
	case hours == 0:
		return fmt.Sprintf("%dm%02ds", minutes, seconds%60)
	case days == 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes%60)
	}
	return fmt.Sprintf("%dd%02dh", days, hours%24)
}

func count(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// counts lists numbers by name, in the order of the names.
func counts(m map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[name], printable(name)))
	}
	return strings.Join(parts, ", ")
}

// printable escapes what could do something to a terminal: the name of a program
// is its user's choice.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
