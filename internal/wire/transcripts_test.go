package wire_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// What a transcript says, in the order of its pieces. A command of the old
// dialect that carries no string stands as it is.
type (
	opened  struct{ wire.Hello }
	command struct {
		Command wire.LegacyCommand
		Payload string
	}
	acked   uint32
	hungup  struct{}
	replied string
	status  int32
)

var (
	env    = []string{"TERM=xterm-256color", "LANG=C.UTF-8"}
	hello  = opened{wire.Hello{Version: 1}}
	small  = &wire.Terminal{Rows: 24, Cols: 80}
	onPipe = []byte{0, 1, 2}
	shell  = &wire.Start{Shell: true, Login: true, Umask: 0o022, Terminal: small}
)

// usual is the settings of a terminal as they are in start-pty.
var usual = []byte{
	0x00, 0x45, 0, 0, 5, 0, 0, 0, 0xbf, 0, 0, 0, 0x3b, 0x8a, 0, 0, 0,
	3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0,
	0, 0x96, 0, 0, 0, 0x96, 0, 0,
}

// conversations says what the transcripts of the new dialect are about.
var conversations = map[string][]any{
	"start-pty": {hello, &wire.Start{
		Argv: []string{"vim", "notes.txt"}, Env: env, Dir: "/home/anna", Umask: 0o022,
		Terminal: &wire.Terminal{Rows: 40, Cols: 132, XPixels: 1320, YPixels: 800, Settings: usual},
	}, wire.Started{PID: 4711, ID: 1}, wire.Exited{}},
	"start-pty-stderr": {hello, &wire.Start{
		Argv: []string{"make"}, Umask: 0o077, Terminal: &wire.Terminal{}, Stdio: []byte{2},
	}, wire.Started{PID: 4712, ID: 2}, wire.Exited{WaitStatus: 2 << 8}},
	"start-pipes": {opened{wire.Hello{Version: 1, WaitedMillis: 1500}}, &wire.Start{
		Argv: []string{"printf", "", "\xff\n"}, Env: env, Dir: "/src", DirRequired: true, Umask: 0o002, Stdio: onPipe,
	}, wire.Started{PID: 4711, ID: 1}, wire.Exited{WaitStatus: 3 << 8}},
	"start-shell": {hello, &wire.Start{
		Shell: true, ShellPath: "/bin/zsh", Login: true, Env: env, Dir: "/root", Umask: 0o022, User: "anna", Terminal: small,
	}, wire.Started{PID: 4711, ID: 7, Warning: "cannot enter /root, started in /home/anna"}, wire.Exited{}},
	"exec-error": {hello, &wire.Start{Argv: []string{"frobnicate"}, Umask: 0o022, Stdio: onPipe},
		wire.Error{Status: 127, Errno: 2, Text: "exec frobnicate: no such file or directory"}},
	"refused-limit": {hello, shell, wire.Error{
		Status: 125, Errno: 28, Text: "open pty: no space left on device",
		Hint: "all ptys are in use; raise /proc/sys/kernel/pty/max",
	}},
	"signal": {hello, &wire.Start{Argv: []string{"sleep", "60"}, Umask: 0o022, Stdio: onPipe},
		wire.Started{PID: 4711, ID: 1},
		wire.Signal{Number: 18, Seq: 1}, acked(1), wire.Signal{Number: 15, Seq: 2}, acked(2),
		wire.Exited{WaitStatus: 15, Cause: wire.CauseSignalled}},
	"hangup": {hello, shell, wire.Started{PID: 4711, ID: 1}, hungup{},
		wire.Exited{WaitStatus: 1, Cause: wire.CauseHungUp}},
	"control-kill": {hello, wire.Control{Command: "kill", Args: []string{"", "12", "99"}},
		replied(`[{"id":12,"error":""},{"id":99,"error":"no such shell"}]`)},
	"control-status": {hello, wire.Control{Command: "status"},
		replied(`{"version":"1.0","uptime_seconds":86400,"pid":812,"socket":"/run/shellspawn.sock",` +
			`"backlog":{"asked":4096,"effective":4096,"somaxconn":4096},` +
			`"queue":{"now":0,"peak":12,"waited":0,"longest_wait_seconds":0},` +
			`"shells":{"running":2,"total":340,"refused":{"exec":3}},"accept_errors":{}}`)},
}

// Every conversation of the new dialect says what it should, piece by piece, and
// the same put into bytes is the same conversation.
func TestTranscripts(t *testing.T) {
	for name, want := range conversations {
		t.Run(name, func(t *testing.T) {
			pieces := spawntest.Transcript(t, name)
			got := converse(t, pieces)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%+v, want\n%+v", got, want)
			}
			for _, client := range []bool{true, false} {
				if b := encode(want, client); !bytes.Equal(b, spawntest.Side(pieces, client)) {
					t.Errorf("encoded, client %v:\n% x, want\n% x", client, b, spawntest.Side(pieces, client))
				}
			}
		})
	}
}

// converse decodes both sides in the order in which they speak.
func converse(t *testing.T, pieces []spawntest.Piece) (said []any) {
	t.Helper()
	var client, daemon [][]byte
	side := func(p spawntest.Piece) *[][]byte {
		if p.FromClient {
			return &client
		}
		return &daemon
	}
	readers := map[bool]*wire.Reader{
		true:  wire.NewReader(source(&client), nil),
		false: wire.NewReader(source(&daemon), nil),
	}
	for i, p := range pieces {
		*side(p) = append(*side(p), p.Bytes)
		r := readers[p.FromClient]
		if i == 0 {
			h, legacy, err := r.Opening()
			if err != nil || legacy {
				t.Fatalf("opening: legacy %v, %v", legacy, err)
			}
			said = append(said, opened{h})
		}
		for len(*side(p)) > 0 || r.Buffered() > 0 {
			kind, payload, err := r.Message()
			if err != nil {
				t.Fatalf("piece %d: %v", i, err)
			}
			said = append(said, decode(t, kind, payload))
		}
	}
	return said
}

// source hands out the pieces as they come, and the end where there are none.
func source(pieces *[][]byte) wire.Recv {
	return func(p []byte) (int, []int, error) {
		if len(*pieces) == 0 {
			return 0, nil, nil
		}
		n := copy(p, (*pieces)[0])
		if (*pieces)[0] = (*pieces)[0][n:]; len((*pieces)[0]) == 0 {
			*pieces = (*pieces)[1:]
		}
		return n, nil, nil
	}
}

func decode(t *testing.T, kind wire.Kind, payload []byte) any {
	t.Helper()
	m, err := parse(kind, payload)
	if err != nil {
		t.Fatalf("kind %#x: %v", kind, err)
	}
	return m
}

var errKind = errors.New("unknown kind")

// parse decodes a payload with the function for its kind.
func parse(kind wire.Kind, payload []byte) (m any, err error) {
	switch kind {
	case wire.KindStart:
		return wire.ParseStart(payload)
	case wire.KindSignal:
		return wire.ParseSignal(payload)
	case wire.KindHangup:
		return hungup{}, nil
	case wire.KindControl:
		return wire.ParseControl(payload)
	case wire.KindStarted:
		return wire.ParseStarted(payload)
	case wire.KindError:
		return wire.ParseError(payload)
	case wire.KindExited:
		return wire.ParseExited(payload)
	case wire.KindAck:
		seq, err := wire.ParseAck(payload)
		return acked(seq), err
	case wire.KindReply:
		return replied(payload), nil
	}
	return nil, errKind
}

// encode puts into bytes what one side says.
func encode(said []any, client bool) (b []byte) {
	var h wire.Hello
	for _, m := range said {
		if o, ok := m.(opened); ok {
			h = o.Hello
			continue
		}
		var fromClient bool
		whole := appendMessage(nil, h, m, &fromClient)
		if fromClient == client {
			b = append(b, whole...)
		}
	}
	return b
}

func appendMessage(b []byte, h wire.Hello, m any, client *bool) []byte {
	*client = true
	switch m := m.(type) {
	case *wire.Start:
		return wire.AppendStart(b, h, m)
	case wire.Control:
		return wire.AppendControl(b, h, m)
	case wire.Signal:
		return wire.AppendSignal(b, m)
	case hungup:
		return wire.AppendHangup(b)
	}
	*client = false
	switch m := m.(type) {
	case wire.Started:
		return wire.AppendStarted(b, m)
	case wire.Error:
		return wire.AppendError(b, m)
	case wire.Exited:
		return wire.AppendExited(b, m)
	case acked:
		return wire.AppendAck(b, uint32(m))
	case replied:
		return wire.AppendReply(b, []byte(m))
	}
	panic("not a message of the new dialect")
}

// legacyEnv is what the original client sends first.
var legacyEnv = []any{
	command{wire.LegacySetEnv, "PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"},
	command{wire.LegacySetEnv, "TMPDIR=/private/tmp"}, command{wire.LegacySetEnv, "HOME=/Users/anna"},
	command{wire.LegacySetEnv, "TERM=xterm"}, command{wire.LegacySetEnv, "LANG=C.UTF-8"},
}

var legacyEnd = []any{
	command{wire.LegacyChdir, "/Volumes/SystemRoot/home/anna"},
	command{wire.LegacySetUIDGID, "\xe8\x03\x00\x00\xe8\x03\x00\x00"}, command{wire.LegacyGo, ""},
}

var legacyConversations = map[string][]any{
	"legacy-shell": join(legacyEnv, command{wire.LegacyAddArg, "-c"},
		command{wire.LegacyAddArg, `'echo' 'it'\''s' ''`}, legacyEnd, status(3)),
	"legacy-exec": join(legacyEnv, command{0x7ffe, "hello"}, command{wire.LegacySetExec, "/usr/bin/printf"},
		command{wire.LegacyAddArg, "printf"}, command{wire.LegacyAddArg, "%s."}, command{wire.LegacyAddArg, ""},
		legacyEnd, status(0)),
	"legacy-pty": join(legacyEnv, legacyEnd, command{wire.LegacySignal, "\x1c\x00\x00\x00"},
		command{wire.LegacySignal, "\x02\x00\x00\x00"}, command{wire.LegacySignal, "\x0f\x00\x00\x00"}, status(143)),
}

func join(parts ...any) (all []any) {
	for _, part := range parts {
		if list, ok := part.([]any); ok {
			all = append(all, list...)
		} else {
			all = append(all, part)
		}
	}
	return all
}

// The same for the old dialect.
func TestLegacyTranscripts(t *testing.T) {
	for name, want := range legacyConversations {
		t.Run(name, func(t *testing.T) {
			pieces := spawntest.Transcript(t, name)
			client, daemon := spawntest.Side(pieces, true), spawntest.Side(pieces, false)
			if got := commands(t, client, daemon); !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%q, want\n%q", got, want)
			}
			var b [2][]byte
			for _, m := range want {
				b = appendLegacy(t, b, m)
			}
			if !bytes.Equal(b[0], client) || !bytes.Equal(b[1], daemon) {
				t.Errorf("encoded\n% x and % x, want\n% x and % x", b[0], b[1], client, daemon)
			}
		})
	}
}

// commands decodes the commands of a client and the status of the daemon.
func commands(t *testing.T, client, daemon []byte) (said []any) {
	t.Helper()
	r := wire.NewReader(source(&[][]byte{client}), nil)
	if _, legacy, err := r.Opening(); err != nil || !legacy {
		t.Fatalf("opening: legacy %v, %v", legacy, err)
	}
	for {
		c, payload, err := r.Legacy()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, command{c, text(c, payload)})
	}
	end, err := wire.NewReader(source(&[][]byte{daemon}), nil).Status()
	if err != nil {
		t.Fatal(err)
	}
	return append(said, status(end))
}

// text is the payload, without the NUL where it is a string.
func text(c wire.LegacyCommand, payload []byte) string {
	switch c {
	case wire.LegacyAddArg, wire.LegacySetEnv, wire.LegacyChdir, wire.LegacySetExec:
		return string(bytes.TrimSuffix(payload, []byte{0}))
	}
	return string(payload)
}

func appendLegacy(t *testing.T, b [2][]byte, m any) [2][]byte {
	t.Helper()
	var err error
	switch m := m.(type) {
	case status:
		b[1] = wire.AppendLegacyStatus(b[1], int32(m))
	case command:
		payload := []byte(m.Payload)
		switch m.Command {
		case wire.LegacyGo:
			b[0] = wire.AppendLegacyGo(b[0])
		case wire.LegacySetUIDGID:
			b[0] = wire.AppendLegacySetUIDGID(b[0], 1000, 1000)
		case wire.LegacySignal:
			b[0] = wire.AppendLegacySignal(b[0], uint32(payload[0]))
		case 0x7ffe:
			b[0] = append(append(b[0], 0xfe, 0x7f, byte(len(payload)), 0), payload...)
		default:
			b[0], err = wire.AppendLegacyString(b[0], m.Command, m.Payload)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Conversations that only one side can put into bytes: what the receiver makes
// of them is all there is to say.
func TestTranscriptsDecodeOnly(t *testing.T) {
	rest := map[string]func(t *testing.T, client, daemon []byte){
		"refused-version": refusedVersion, "unknown-field": unknownField,
		"legacy-no-nul": legacyNoNul, "new-to-old": newToOld,
	}
	for name, judge := range rest {
		t.Run(name, func(t *testing.T) {
			pieces := spawntest.Transcript(t, name)
			judge(t, spawntest.Side(pieces, true), spawntest.Side(pieces, false))
		})
	}
	for _, name := range spawntest.Transcripts(t) {
		if conversations[name] == nil && legacyConversations[name] == nil && rest[name] == nil {
			t.Errorf("nothing decodes %s.hex", name)
		}
	}
}

func refusedVersion(t *testing.T, client, daemon []byte) {
	h, legacy, err := wire.NewReader(source(&[][]byte{client}), nil).Opening()
	if err != nil || legacy || h.Version != 2 {
		t.Errorf("opening %+v, legacy %v, %v", h, legacy, err)
	}
	refused(t, daemon, "protocol: this daemon speaks version 1, the client version 2")
}

// refused checks that the daemon's side is one refusal.
func refused(t *testing.T, daemon []byte, text string) {
	t.Helper()
	kind, payload, err := wire.NewReader(source(&[][]byte{daemon}), nil).Message()
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Error{Status: 125, Text: text}
	if got := decode(t, kind, payload); got != want {
		t.Errorf("refusal %+v, want %+v", got, want)
	}
}

func unknownField(t *testing.T, client, daemon []byte) {
	r := wire.NewReader(source(&[][]byte{client}), nil)
	if _, _, err := r.Opening(); err != nil {
		t.Fatal(err)
	}
	_, payload, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	_, err = wire.ParseStart(payload)
	var unknown *wire.UnknownFieldError
	if !errors.As(err, &unknown) || unknown.Name != "nice" || !errors.Is(err, wire.ErrProtocol) {
		t.Fatalf("error %v, want one that names the field", err)
	}
	refused(t, daemon, "request: "+err.Error())
}

func legacyNoNul(t *testing.T, client, daemon []byte) {
	var got wire.LegacyRequest
	r := wire.NewReader(source(&[][]byte{client}), nil)
	for {
		c, payload, err := r.Legacy()
		if err != nil {
			t.Fatal(err)
		}
		if c == wire.LegacyGo {
			break
		}
		if err := got.Apply(c, payload); err != nil {
			t.Fatal(err)
		}
	}
	if got.Exec != "/bin/sh" || !reflect.DeepEqual(got.Args, []string{"sh"}) || got.Dir != "/tmp" ||
		!reflect.DeepEqual(got.Env, []string{"TERM=dumb"}) || got.HasID {
		t.Errorf("request %+v", got)
	}
	if end, err := wire.NewReader(source(&[][]byte{daemon}), nil).Status(); end != 127 || err != nil {
		t.Errorf("status %d, %v", end, err)
	}
}

func newToOld(t *testing.T, client, _ []byte) {
	r := wire.NewReader(source(&[][]byte{client}), nil)
	var said []wire.LegacyCommand
	for {
		c, _, err := r.Legacy()
		if err != nil {
			break
		}
		said = append(said, c)
	}
	if !reflect.DeepEqual(said, []wire.LegacyCommand{0x100, wire.LegacyGo}) || len(r.TakeDescriptors()) != 0 {
		t.Errorf("an old daemon reads %v", said)
	}
}
