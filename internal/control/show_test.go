package control

import (
	"strings"
	"testing"

	"shellspawn/internal/wire"
)

// D2: one line of advice when the queue came near its limit, when clients had to
// wait, or when the kernel cut the backlog; silence otherwise.
func TestAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		backlog wire.Backlog
		queue   wire.Queue
		want    string
	}{
		"idle":           {wire.Backlog{Asked: 4096, Effective: 4096, Somaxconn: 4096}, wire.Queue{}, ""},
		"half full":      {wire.Backlog{Asked: 100, Effective: 100, Somaxconn: 4096}, wire.Queue{Peak: 50}, ""},
		"nearly full":    {wire.Backlog{Asked: 100, Effective: 100, Somaxconn: 4096}, wire.Queue{Peak: 75}, "'shellspawn backlog 200'"},
		"full":           {wire.Backlog{Asked: 1, Effective: 1, Somaxconn: 4096}, wire.Queue{Peak: 2}, "'shellspawn backlog 4'"},
		"clients waited": {wire.Backlog{Asked: 16, Effective: 16, Somaxconn: 4096}, wire.Queue{Waited: 1}, "'shellspawn backlog 32'"},
		"kernel's limit": {wire.Backlog{Asked: 4096, Effective: 4096, Somaxconn: 4096}, wire.Queue{Waited: 1},
			"'sysctl -w net.core.somaxconn=8192', then 'shellspawn backlog 8192'"},
		"cut":            {wire.Backlog{Asked: 500, Effective: 128, Somaxconn: 128}, wire.Queue{}, "'sysctl -w net.core.somaxconn=500', then 'shellspawn backlog 500'"},
		"raised since":   {wire.Backlog{Asked: 500, Effective: 128, Somaxconn: 4096}, wire.Queue{}, "'shellspawn backlog 500', or SIGHUP"},
		"one connection": {wire.Backlog{}, wire.Queue{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := advice(&wire.Status{Backlog: c.backlog, Queue: c.queue})
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("advice %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestAge(t *testing.T) {
	for seconds, want := range map[int64]string{
		0: "0s", 59: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 86399: "23h59m", 86400: "1d00h", 100 * 86400: "100d00h",
	} {
		if got := age(seconds); got != want {
			t.Errorf("%d seconds are %q, want %q", seconds, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"/bin/bash": "/bin/bash", `with "quotes"`: `with "quotes"`, "größe": "größe",
		"\x1b[2J": `\x1b[2J`, "a\nb\tc": `a\nb\tc`, "\u009b": `\u009b`, "\xff": `\xff`, "\u202e": `\u202e`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// The page has one line for each matter, and none where there is nothing to say.
func TestStatusPage(t *testing.T) {
	s := &wire.Status{
		Version: "1.0", UptimeSeconds: 3700, PID: 42, Socket: "/run/s",
		Backlog: wire.Backlog{Asked: 8, Effective: 8, Somaxconn: 128},
		Queue:   wire.Queue{Now: 1, Peak: 9, Waited: 2, LongestWaitSeconds: 0.25},
		Shells:  wire.Shells{Running: 3, Total: 5, Refused: map[string]uint64{"policy": 1, "max-shells": 2}},
	}
	want := `shellspawn  1.0, pid 42, up 1h01m
socket      /run/s
backlog     8 asked for, 8 in effect; net.core.somaxconn is 128
queue       1 waiting now, 9 at the peak; 2 clients found it full and waited up to 250ms
shells      3 running, 5 started so far
refused     2 max-shells, 1 policy
advice      the accept queue was full or nearly so: 'shellspawn backlog 18' makes it longer
`
	var page strings.Builder
	if err := writeStatus(&page, s); err != nil || page.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, page.String(), want)
	}
}

// A limit that the daemon cannot read is not shown as a number.
func TestUnknownLimit(t *testing.T) {
	if got, want := backlogText(wire.Backlog{Asked: 8, Effective: 8}), "8 asked for, 8 in effect; net.core.somaxconn is unknown"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The columns of the list are aligned as a terminal shows them, whatever letters are
// in the names, and a long path loses its beginning.
func TestListTable(t *testing.T) {
	long := "/opt/" + strings.Repeat("deep/", 800) + "program-of-that-name"
	rows := []wire.Row{
		{ID: 7, User: "ann", PID: 4711, TTY: "/dev/pts/3", Program: "bash", AgeSeconds: 61, ClientPID: 4700, State: "running"},
		{ID: 1200, User: "jürgen", PID: 12, Program: "/tmp/日本語 e\u0301", ClientPID: 13, State: "ending"},
		{ID: 8, User: "1000", PID: 14, Program: long, ClientPID: 15, State: "running"},
	}
	want := "ID    USER    PID   TTY    PROGRAM                                   AGE    CLIENT  STATE\n" +
		"7     ann     4711  pts/3  bash                                      1m01s  4700    running\n" +
		"1200  jürgen  12    -      /tmp/日本語 e\u0301                             0s     13      ending\n" +
		"8     1000    14    -      …eep/deep/deep/deep/program-of-that-name  0s     15      running\n"
	var page strings.Builder
	if err := writeList(&page, rows); err != nil || page.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, page.String(), want)
	}
}
