package wire_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// frame is one command of the old dialect.
func frame(c wire.LegacyCommand, payload string) []byte {
	n := len(payload)
	return append([]byte{byte(c), byte(c >> 8), byte(n), byte(n >> 8)}, payload...)
}

// apply takes commands into a request.
func apply(t *testing.T, frames ...[]byte) (*wire.LegacyRequest, error) {
	t.Helper()
	req := &wire.LegacyRequest{}
	r := wire.NewReader(source(&frames), nil)
	for {
		c, payload, err := r.Legacy()
		if err == io.EOF {
			return req, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := req.Apply(c, payload); err != nil {
			return req, err
		}
	}
}

// What commands add up to.
func TestLegacyRequest(t *testing.T) {
	for _, row := range []struct {
		name   string
		frames [][]byte
		want   wire.LegacyRequest
	}{
		{"nothing", nil, wire.LegacyRequest{}},
		{"with and without NUL", [][]byte{frame(1, "a\x00"), frame(1, "b"), frame(1, "c\x00d"), frame(1, "\x00e")},
			wire.LegacyRequest{Args: []string{"a", "b", "c", ""}}},
		{"length 0 and length 1", [][]byte{frame(1, ""), frame(1, "\x00"), frame(2, ""), frame(3, "/x"), frame(3, "")},
			wire.LegacyRequest{Args: []string{""}, Dir: "/x"}},
		{"set twice", [][]byte{frame(2, "A=1"), frame(2, "B=1"), frame(2, "A=2=3\x00"), frame(2, "AB=")},
			wire.LegacyRequest{Env: []string{"A=2=3", "B=1", "AB="}}},
		{"no variable", [][]byte{frame(2, "A"), frame(2, "=1"), frame(2, "\x00")}, wire.LegacyRequest{}},
		{"program", [][]byte{frame(1, "lost"), frame(7, "/bin/sh\x00"), frame(1, "sh\x00")},
			wire.LegacyRequest{Exec: "/bin/sh", Args: []string{"sh"}}},
		{"identity", [][]byte{frame(6, "\x01\x02\x00\x00\xff\xff\xff\xff")},
			wire.LegacyRequest{UID: 0x201, GID: 1<<32 - 1, HasID: true}},
		{"unknown", [][]byte{frame(0, "x"), frame(8, ""), frame(0x100, "hello"), frame(0xffff, strings.Repeat("x", 0xffff))},
			wire.LegacyRequest{}},
		{"signal before GO", [][]byte{frame(5, "\x0f\x00\x00\x00")}, wire.LegacyRequest{}},
	} {
		got, err := apply(t, row.frames...)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		plain := wire.LegacyRequest{Exec: got.Exec, Args: got.Args, Env: got.Env, Dir: got.Dir, UID: got.UID, GID: got.GID, HasID: got.HasID}
		if !reflect.DeepEqual(plain, row.want) {
			t.Errorf("%s: %+v, want %+v", row.name, plain, row.want)
		}
	}
}

// E4: no request grows without bound, whatever it consists of.
func TestLegacyRequestTooLarge(t *testing.T) {
	for name, f := range map[string][]byte{
		"arguments": frame(1, "\x00"),
		"unknown":   frame(99, strings.Repeat("x", 0xffff)),
		"variables": frame(2, strings.Repeat("x", 1000)),
		"empty":     frame(1, ""),
	} {
		req := &wire.LegacyRequest{}
		size := 0
		for {
			if err := req.Apply(wire.LegacyCommand(f[0]), f[4:]); err != nil {
				if !errors.Is(err, wire.ErrTooLarge) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			if size += len(f); size > wire.MaxMessage {
				t.Fatalf("%s: %d bytes taken", name, size)
			}
		}
		if len(req.Args) > wire.MaxStrings {
			t.Errorf("%s: %d strings", name, len(req.Args))
		}
	}
}

// SETUIDGID is two numbers, nothing else.
func TestLegacyIdentityLength(t *testing.T) {
	for _, n := range []int{0, 4, 7, 9} {
		if _, err := apply(t, frame(6, strings.Repeat("\x01", n))); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// After GO there is SIGNAL with four bytes, and nothing else.
func TestParseLegacySignal(t *testing.T) {
	if n, err := wire.ParseLegacySignal(wire.LegacySignal, []byte{15, 0, 0, 0}); n != 15 || err != nil {
		t.Errorf("SIGNAL: %d, %v", n, err)
	}
	for _, n := range []int{0, 3, 5, 8} {
		if _, err := wire.ParseLegacySignal(wire.LegacySignal, make([]byte, n)); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("SIGNAL of %d bytes: %v", n, err)
		}
	}
	for _, c := range []wire.LegacyCommand{0, 1, 2, 3, 4, 6, 7, 8, 0x100} {
		if _, err := wire.ParseLegacySignal(c, make([]byte, 4)); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("command %d: %v", c, err)
		}
	}
}

// A string that is too long for its length field is refused, not cut.
func TestAppendLegacyString(t *testing.T) {
	if b, err := wire.AppendLegacyString(nil, wire.LegacyAddArg, strings.Repeat("x", 0xfffe)); err != nil || len(b) != 4+0xffff {
		t.Errorf("the longest: %d bytes, %v", len(b), err)
	}
	if b, err := wire.AppendLegacyString([]byte("before"), wire.LegacyAddArg, strings.Repeat("x", 0xffff)); err != wire.ErrTooLarge || string(b) != "before" {
		t.Errorf("longer: %d bytes, %v", len(b), err)
	}
}

// The status is a signed number.
func TestLegacyStatus(t *testing.T) {
	for _, n := range []int32{0, 1, 255, 128 + 9, -1, -1 << 31} {
		b := wire.AppendLegacyStatus(nil, n)
		got, err := wire.NewReader(source(&[][]byte{b[:1], b[1:]}), nil).Status()
		if err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
	}
	if _, err := wire.NewReader(source(&[][]byte{{1, 2, 3}}), nil).Status(); err != io.ErrUnexpectedEOF {
		t.Errorf("three bytes: %v", err)
	}
	if _, err := wire.NewReader(source(&[][]byte{}), nil).Status(); err != io.EOF {
		t.Errorf("none: %v", err)
	}
}

// Descriptors belong to GO. A reader may find GO in pieces, and together with
// what precedes it and follows it, but is not fooled by descriptors that came on
// another command, or together with the rest of one. E2
func TestLegacyDescriptors(t *testing.T) {
	arg, gone, sig := frame(1, "argument\x00"), frame(4, ""), frame(5, "\x0f\x00\x00\x00")
	for _, row := range []struct {
		name string
		send [][]byte // the second one carries the descriptors
		want int      // -1 for an error
	}{
		{"in pieces of their own", [][]byte{arg, gone, sig}, 3},
		{"GO in two pieces", [][]byte{arg, gone[:1], gone[1:]}, 3},
		{"GO in two pieces, on the second", [][]byte{append(arg, gone[:3]...), gone[3:], sig}, 3},
		{"GO and SIGNAL in one piece", [][]byte{arg, append(gone, sig...), nil}, 3},
		{"on an argument", [][]byte{arg, arg, gone}, -1},
		{"on the half of an argument", [][]byte{arg, arg[:6], append(arg[6:], gone...)}, -1},
		{"on the last byte of an argument", [][]byte{arg[:len(arg)-1], arg[len(arg)-1:], gone}, -1},
	} {
		for _, size := range []int{1, 5, 4096} {
			if got := legacyDescriptors(t, row.send, size); got != row.want {
				t.Errorf("%s, read by %d: %d, want %d", row.name, size, got, row.want)
			}
		}
	}
}

// legacyDescriptors sends three pieces, the second with descriptors, and counts
// those found with GO; -1 stands for an error.
func legacyDescriptors(t *testing.T, send [][]byte, size int) int {
	t.Helper()
	a, b := pair(t)
	for i, piece := range send {
		var oob []byte
		if i == 1 {
			oob = unix.UnixRights(files(t, 3)...)
		}
		if len(piece) > 0 {
			rawSend(t, a, piece, oob)
		}
	}
	recv := wire.RecvFD(b, unix.MSG_DONTWAIT)
	r := wire.NewReader(func(p []byte) (int, []int, error) { return recv(p[:min(len(p), size)]) }, nil)
	defer r.Close()
	for {
		c, _, err := r.Legacy()
		if errors.Is(err, wire.ErrProtocol) {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		if c == wire.LegacyGo {
			fds := r.TakeDescriptors()
			wire.CloseAll(fds)
			return len(fds)
		}
	}
}
