package wire_test

import (
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"shellspawn/internal/wire"
)

// full is one message of each kind with every field that it can have.
var full = map[wire.Kind][]any{
	wire.KindStart: {
		&wire.Start{
			Argv: []string{"a", "", "b\xff"}, Env: []string{"X=1"}, Shell: true, ShellPath: "/bin/zsh", Login: true,
			Named: 1, Dir: "/src", DirRequired: true, Umask: 0o027, User: "anna", Stdio: []byte{2, 0},
			Terminal: &wire.Terminal{Rows: 1, Cols: 2, XPixels: 3, YPixels: 65535, Settings: usual},
		},
		&wire.Start{Argv: []string{""}, Dir: "/tmp"},
		&wire.Start{Argv: []string{strings.Repeat("x", 1<<20)}},
	},
	wire.KindSignal:  {wire.Signal{Number: 15, Seq: 1<<32 - 1}},
	wire.KindHangup:  {hungup{}},
	wire.KindControl: {wire.Control{Command: "kill", Args: []string{"", "7"}}, wire.Control{Command: "status"}},
	wire.KindStarted: {wire.Started{PID: 1, ID: 1<<32 - 1, Warning: "warned"}, wire.Started{}},
	wire.KindError:   {wire.Error{Status: 126, Errno: 13, Text: "exec x: permission denied", Hint: "chmod"}, wire.Error{}},
	wire.KindExited:  {wire.Exited{WaitStatus: 9, Cause: wire.CauseShutdown}, wire.Exited{}},
	wire.KindAck:     {acked(0), acked(1<<32 - 1)},
	wire.KindReply:   {replied(""), replied("{}")},
}

// message is one message in bytes, without the opening that may precede it.
func message(m any) []byte {
	var client bool
	b := appendMessage(nil, wire.Hello{Version: wire.Version}, m, &client)
	switch m.(type) {
	case *wire.Start, wire.Control:
		return b[20:]
	}
	return b
}

// Every message arrives as it was sent.
func TestRoundTrip(t *testing.T) {
	for kind, messages := range full {
		for _, m := range messages {
			b := message(m)
			r := wire.NewReader(source(&[][]byte{b}), nil)
			got, payload, err := r.Message()
			if err != nil || got != kind {
				t.Errorf("%T: kind %#x, %v; want %#x", m, got, err, kind)
				continue
			}
			if back := decode(t, got, payload); !reflect.DeepEqual(back, m) {
				t.Errorf("got %.200v, want %.200v", back, m)
			}
		}
	}
}

// fields takes a payload apart, as PROTOCOL.md says. It knows nothing of the
// package under test.
func fields(t testing.TB, payload []byte) (list []rawField) {
	t.Helper()
	for len(payload) > 0 {
		nameLen, size := int(payload[0]), int(binary.LittleEndian.Uint32(payload[2:]))
		f := rawField{string(payload[6 : 6+nameLen]), payload[1] == 1, payload[6+nameLen : 6+nameLen+size]}
		if payload[1] > 1 {
			t.Errorf("field %s: flags %#x", f.name, payload[1])
		}
		list, payload = append(list, f), payload[6+nameLen+size:]
	}
	return list
}

type rawField struct {
	name     string
	required bool
	value    []byte
}

func (f rawField) bytes() []byte {
	b := []byte{byte(len(f.name)), 0}
	if f.required {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.value)))
	return append(append(b, f.name...), f.value...)
}

func payloadOf(list []rawField) (b []byte) {
	for _, f := range list {
		b = append(b, f.bytes()...)
	}
	return b
}

// eachPayload hands over the fields of the fullest message of each kind.
func eachPayload(t *testing.T, test func(t *testing.T, kind wire.Kind, m any, list []rawField)) {
	for kind, messages := range full {
		if kind == wire.KindReply || kind == wire.KindHangup {
			continue // they have no fields
		}
		b := message(messages[0])
		test(t, kind, messages[0], fields(t, b[8:]))
	}
}

// A field that a receiver does not know is skipped, wherever it stands, unless
// it is required: then the message is refused and the field named.
func TestUnknownFields(t *testing.T) {
	eachPayload(t, func(t *testing.T, kind wire.Kind, m any, list []rawField) {
		for at := range len(list) + 1 {
			more := slices.Insert(slices.Clone(list), at, rawField{"later", false, []byte("anything\x00")})
			got, err := parse(kind, payloadOf(more))
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("kind %#x with an unknown field at %d: %v, %v", kind, at, got, err)
			}
			more[at].required, more[at].name = true, "la\x1b\xffter"
			_, err = parse(kind, payloadOf(more))
			var unknown *wire.UnknownFieldError
			if !errors.As(err, &unknown) || unknown.Name != "la??ter" || !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("kind %#x with a required unknown field at %d: %v", kind, at, err)
			}
		}
	})
}

// A field that stands twice is refused: two receivers might not agree on which
// one counts. An unknown one may do as it likes.
func TestRepeatedFields(t *testing.T) {
	eachPayload(t, func(t *testing.T, kind wire.Kind, m any, list []rawField) {
		for _, f := range list {
			_, err := parse(kind, payloadOf(append(slices.Clone(list), f)))
			if !errors.Is(err, wire.ErrProtocol) || !strings.Contains(err.Error(), f.name+" twice") {
				t.Errorf("kind %#x with %s twice: %v", kind, f.name, err)
			}
		}
		later := rawField{"later", false, nil}
		if _, err := parse(kind, payloadOf(append(slices.Clone(list), later, later))); err != nil {
			t.Errorf("kind %#x: %v", kind, err)
		}
	})
}

// The order of fields has no meaning.
func TestFieldOrder(t *testing.T) {
	eachPayload(t, func(t *testing.T, kind wire.Kind, m any, list []rawField) {
		turned := slices.Clone(list)
		slices.Reverse(turned)
		if got, err := parse(kind, payloadOf(turned)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("kind %#x backwards: %v, %v", kind, got, err)
		}
	})
}

// A payload that ends anywhere but between two fields is refused, and so is a
// field that claims to be longer than its message.
func TestPayloadCutShort(t *testing.T) {
	eachPayload(t, func(t *testing.T, kind wire.Kind, m any, list []rawField) {
		whole := payloadOf(list)
		between := map[int]bool{}
		for i := range len(list) + 1 {
			between[len(payloadOf(list[:i]))] = true
		}
		for n := range whole {
			if _, err := parse(kind, whole[:n]); !between[n] && !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("kind %#x cut after %d of %d bytes: %v", kind, n, len(whole), err)
			}
		}
		for _, size := range []uint32{uint32(len(whole)), 1<<31 - 1, 1<<32 - 1} {
			long := slices.Clone(whole)
			binary.LittleEndian.PutUint32(long[2:], size)
			if _, err := parse(kind, long); !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("kind %#x with a field of %d bytes: %v", kind, size, err)
			}
		}
	})
}

// Numbers are four bytes, texts have no NUL.
func TestFieldTypes(t *testing.T) {
	texts := map[string]bool{"shell": true, "chdir": true, "user": true, "command": true, "warning": true, "text": true, "hint": true}
	eachPayload(t, func(t *testing.T, kind wire.Kind, m any, list []rawField) {
		for i, f := range list {
			bad := slices.Clone(list)
			switch {
			case texts[f.name]:
				bad[i].value = []byte("a\x00b")
			case f.name == "login":
				continue
			case len(f.value) == 4 && f.name != "argv" && f.name != "env":
				bad[i].value = f.value[:3]
			default:
				bad[i].value = append(slices.Clone(f.value), 7)
			}
			if _, err := parse(kind, payloadOf(bad)); !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("kind %#x with %s = %q: %v", kind, f.name, bad[i].value, err)
			}
		}
	})
}

// startOf is a start request of these fields, which otherwise runs true.
func startOf(list ...rawField) (*wire.Start, error) {
	names := map[string]bool{}
	for _, f := range list {
		names[f.name] = true
	}
	for _, f := range []rawField{{"argv", true, []byte("true\x00")}, {"stdio", true, nil}} {
		if !names[f.name] {
			list = append(list, f)
		}
	}
	return wire.ParseStart(payloadOf(list))
}

// E4: what a start request may not be.
func TestStartRefused(t *testing.T) {
	for name, f := range map[string][]rawField{
		"no program":              {{"argv", true, nil}},
		"argv without its end":    {{"argv", true, []byte("true")}},
		"descriptor 3":            {{"stdio", true, []byte{0, 1, 3}}},
		"descriptor 255":          {{"stdio", true, []byte{255}}},
		"descriptor twice":        {{"stdio", true, []byte{1, 1}}},
		"four descriptors":        {{"stdio", true, []byte{0, 1, 2, 0}}},
		"terminal of 7 bytes":     {{"terminal", true, make([]byte, 7)}},
		"terminal of 51 bytes":    {{"terminal", true, make([]byte, 51)}},
		"terminal of 53 bytes":    {{"terminal", true, make([]byte, 53)}},
		"terminal without a size": {{"terminal", true, nil}},
		"chdir to nowhere":        {{"chdir", true, nil}},
	} {
		if s, err := startOf(f...); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := wire.ParseStart(rawField{"argv", true, []byte("true\x00")}.bytes()); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("no stdio: %v", err)
	}
}

// A shell needs no arguments, and an empty program name is for execve(2) to
// judge.
func TestStartAccepted(t *testing.T) {
	s, err := startOf(rawField{"argv", true, nil}, rawField{"shell", true, nil})
	if err != nil || !s.Shell || s.ShellPath != "" || s.Umask != 0o022 {
		t.Errorf("shell: %+v, %v", s, err)
	}
	if s, err = startOf(rawField{"argv", true, []byte{0}}); err != nil || len(s.Argv) != 1 || s.Argv[0] != "" {
		t.Errorf("empty name: %+v, %v", s, err)
	}
	chdir, cwd := rawField{"chdir", true, []byte("/a")}, rawField{"cwd", true, []byte("/b")}
	for _, both := range [][]rawField{{chdir, cwd}, {cwd, chdir}} {
		if s, err = startOf(both...); err != nil || s.Dir != "/a" || !s.DirRequired {
			t.Errorf("chdir and cwd: %+v, %v", s, err)
		}
	}
}

// E4: a million strings, and not one more.
func TestTooManyStrings(t *testing.T) {
	for n, want := range map[int]error{wire.MaxStrings: nil, wire.MaxStrings + 1: wire.ErrTooLarge} {
		s, err := startOf(rawField{"env", true, make([]byte, n)})
		if !errors.Is(err, want) || err == nil && len(s.Env) != n {
			t.Errorf("%d strings: %v, want %v", n, err, want)
		}
	}
}

// A status that is not there must not look like success.
func TestIncomplete(t *testing.T) {
	if _, err := wire.ParseExited(nil); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("exited without a status: %v", err)
	}
	if _, err := wire.ParseSignal(rawField{"seq", true, make([]byte, 4)}.bytes()); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("signal without a number: %v", err)
	}
	if _, err := wire.ParseControl(rawField{"args", true, nil}.bytes()); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("control without a command: %v", err)
	}
}

// What was decoded does not change when the buffer it came from is used again.
func TestNoReferences(t *testing.T) {
	for kind, messages := range full {
		payload := message(messages[0])[8:]
		got, err := parse(kind, payload)
		if err != nil {
			t.Fatal(err)
		}
		for i := range payload {
			payload[i] = 0xaa
		}
		if !reflect.DeepEqual(got, messages[0]) {
			t.Errorf("kind %#x refers to its payload: %+v", kind, got)
		}
	}
}
