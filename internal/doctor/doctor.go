// Package doctor looks at a machine and an installation and says, one line for
// each thing it looks at, that it is fine or what to do about it.
//
// It only looks: it changes nothing, and connects to a running daemon as any
// client does. Where a daemon runs its limits are those that count; otherwise
// they are those of the caller, from whom a daemon would get them.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"shellspawn/internal/wire"
)

// Options is what to look for.
type Options struct {
	// Sockets are the paths where a daemon may listen; the first one at which
	// there is a file counts, or else the first one.
	Sockets []string
	// Version is that of this program.
	Version string
}

// State is what a finding comes to.
type State string

// The states. With Warn everything works, but not as well or as safely as it
// should.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// Finding is the answer to one question. Advice is what to do, or empty.
type Finding struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Text   string `json:"text"`
	Advice string `json:"advice"`
}

// patient is the machine as far as it is known while the checks run.
type patient struct {
	Options
	socket string
	status *wire.Status // of the running daemon, or nil
	limits *wire.Limits // the same
	shells int          // how many the machine has to be good for
	pid    int          // whose limits count, as /proc names it
}

// What a machine is examined for if no daemon says what it wants.
const (
	usualBacklog = 4096
	usualShells  = 1000
)

// Examine runs every check. It waits for a daemon that hangs for 10 s or so.
func Examine(o Options) []Finding {
	p := &patient{Options: o, socket: choose(o.Sockets), shells: usualShells}
	daemon := p.daemon() // first, for what it tells the others
	return []Finding{
		daemon, p.versions(), p.kernel(), p.place(), p.directory(), p.backlog(),
		p.descriptors(), p.processes(), p.controlGroup(), p.ptys(), p.devpts(), p.units(),
	}
}

// Failed says whether something does not work.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.State == Fail {
			return true
		}
	}
	return false
}

// WriteText prints one line for each finding.
func WriteText(w io.Writer, findings []Finding) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range findings {
		text := f.Text
		if f.Advice != "" {
			text += "; " + f.Advice
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.State, f.Check, printable(text))
	}
	return t.Flush() // keeps the first error of the lines above
}

// WriteJSON prints an array of findings.
func WriteJSON(w io.Writer, findings []Finding) error {
	return json.NewEncoder(w).Encode(findings)
}

// printable escapes what could do something to a terminal: names of files are
// not always of our choice.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func fine(check, format string, args ...any) Finding {
	return Finding{Check: check, State: OK, Text: fmt.Sprintf(format, args...)}
}

func warn(check, text, advice string) Finding {
	return Finding{Check: check, State: Warn, Text: text, Advice: advice}
}

func fail(check, text, advice string) Finding {
	return Finding{Check: check, State: Fail, Text: text, Advice: advice}
}
