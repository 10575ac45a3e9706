package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// stream is everything that a side of a transcript sends, as one reader sees it:
// the opening, if it is the client's, and all messages or commands. It asks again
// for as long as the reader has to wait.
func stream(r *wire.Reader, client bool) (said []string, err error) {
	legacy := false
	if client {
		var h wire.Hello
		for h, legacy, err = r.Opening(); err == unix.EAGAIN; h, legacy, err = r.Opening() {
		}
		if err != nil {
			return nil, err
		}
		said = append(said, fmt.Sprintf("%+v %v", h, legacy))
	}
	for {
		one, err := next(r, legacy)
		switch err {
		case nil:
			said = append(said, one)
		case unix.EAGAIN:
		default:
			return said, err
		}
	}
}

func next(r *wire.Reader, legacy bool) (string, error) {
	if legacy {
		c, payload, err := r.Legacy()
		return fmt.Sprintf("%#x %x", c, payload), err
	}
	kind, payload, err := r.Message()
	return fmt.Sprintf("%#x %x", kind, payload), err
}

// eachStream runs a test on every stream of messages in the transcripts. A daemon of
// the old dialect sends none.
func eachStream(t *testing.T, test func(t *testing.T, b []byte, client bool)) {
	for _, name := range spawntest.Transcripts(t) {
		pieces := spawntest.Transcript(t, name)
		for _, client := range []bool{true, false} {
			b := spawntest.Side(pieces, client)
			if len(b) > 4 {
				t.Run(fmt.Sprintf("%s/client=%v", name, client), func(t *testing.T) { test(t, b, client) })
			}
		}
	}
}

// Whatever the pieces in which a stream arrives, from single bytes on, and
// wherever it is cut in two: the messages are the same.
func TestReaderPieces(t *testing.T) {
	eachStream(t, func(t *testing.T, b []byte, client bool) {
		want, end := stream(wire.NewReader(source(&[][]byte{b}), nil), client)
		check := func(pieces [][]byte) {
			t.Helper()
			got, err := stream(wire.NewReader(source(&pieces), nil), client)
			if err != end || !reflect.DeepEqual(got, want) {
				t.Errorf("%q, %v; want %q, %v", got, err, want, end)
			}
		}
		for size := 1; size <= len(b); size++ {
			check(bytePieces(b, size))
		}
		for at := 1; at < len(b); at++ {
			check([][]byte{b[:at], b[at:]})
		}
	})
}

// bytePieces cuts b into pieces of one size.
func bytePieces(b []byte, size int) (pieces [][]byte) {
	for len(b) > size {
		pieces, b = append(pieces, b[:size]), b[size:]
	}
	return append(pieces, b)
}

// The end of the stream is io.EOF between two messages and
// io.ErrUnexpectedEOF within one.
func TestReaderCutShort(t *testing.T) {
	eachStream(t, func(t *testing.T, b []byte, client bool) {
		whole, end := stream(wire.NewReader(source(&[][]byte{b}), nil), client)
		if end != io.EOF {
			t.Fatal(end)
		}
		for n := range b {
			got, err := stream(wire.NewReader(source(&[][]byte{b[:n]}), nil), client)
			if len(got) >= len(whole) || err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Errorf("after %d of %d bytes: %q, %v", n, len(b), got, err)
			}
		}
	})
	b := message(wire.Signal{Number: 1, Seq: 1})
	for n, want := range map[int]error{0: io.EOF, 1: io.ErrUnexpectedEOF, 8: io.ErrUnexpectedEOF, len(b) - 1: io.ErrUnexpectedEOF} {
		if _, _, err := wire.NewReader(source(&[][]byte{b[:n]}), nil).Message(); err != want {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
}

// A reader that has to wait before each byte goes on where it was.
func TestReaderResumes(t *testing.T) {
	eachStream(t, func(t *testing.T, b []byte, client bool) {
		want, end := stream(wire.NewReader(source(&[][]byte{b}), nil), client)
		pieces := bytePieces(b, 1)
		later, ready := source(&pieces), true
		got, err := stream(wire.NewReader(func(p []byte) (int, []int, error) {
			if ready = !ready; !ready {
				return 0, nil, unix.EAGAIN
			}
			return later(p)
		}, nil), client)
		if err != end || !reflect.DeepEqual(got, want) {
			t.Errorf("%q, %v; want %q, %v", got, err, want, end)
		}
	})
}

// header is a message's header that announces length bytes.
func header(kind wire.Kind, length uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(kind))
	b = binary.LittleEndian.AppendUint16(b, 0)
	return binary.LittleEndian.AppendUint32(b, length)
}

// E4: a length over the limit is refused when it is announced.
func TestReaderTooLarge(t *testing.T) {
	for _, row := range []struct {
		limit  int
		length uint32
		want   error
	}{
		{wire.MaxMessage, wire.MaxMessage, io.ErrUnexpectedEOF},
		{wire.MaxMessage, wire.MaxMessage + 1, wire.ErrTooLarge},
		{wire.MaxMessage, 1<<31 - 1, wire.ErrTooLarge},
		{wire.MaxMessage, 1<<32 - 1, wire.ErrTooLarge},
		{wire.MaxLater, wire.MaxLater, io.ErrUnexpectedEOF},
		{wire.MaxLater, wire.MaxLater + 1, wire.ErrTooLarge},
	} {
		r := wire.NewReader(source(&[][]byte{header(wire.KindStart, row.length)}), nil)
		r.SetLimit(row.limit)
		if _, _, err := r.Message(); err != row.want {
			t.Errorf("limit %d, length %d: %v, want %v", row.limit, row.length, err, row.want)
		}
	}
	r := wire.NewReader(source(&[][]byte{{5, 0, 1, 0x10}}), nil)
	r.SetLimit(wire.MaxLater)
	if _, _, err := r.Legacy(); err != wire.ErrTooLarge {
		t.Errorf("old dialect: %v", err)
	}
}

// E4: memory is taken for bytes that have come, not for those announced. More
// have come than fit into the first buffer.
func TestReaderMemory(t *testing.T) {
	some := bytes.Repeat([]byte{7}, 300)
	for name, row := range map[string]struct {
		b    []byte
		read func(r *wire.Reader) error
	}{
		"message":  {header(wire.KindStart, wire.MaxMessage), func(r *wire.Reader) error { _, _, err := r.Message(); return err }},
		"command":  {[]byte{1, 0, 0xff, 0xff}, func(r *wire.Reader) error { _, _, err := r.Legacy(); return err }},
		"greeting": {[]byte{0, 1, 0xff, 0xff}, func(r *wire.Reader) error { _, _, err := r.Opening(); return err }},
	} {
		b := append(row.b, some...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if err := row.read(wire.NewReader(source(&[][]byte{b}), nil)); err != io.ErrUnexpectedEOF {
				t.Fatalf("%s: %v", name, err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / 100; each > 4096 {
			t.Errorf("%s: %d bytes for one that was announced only", name, each)
		}
	}
}

// A payload of the largest size, in the pieces that a socket hands out, costs
// no more than twice its size at a time.
func TestReaderLargest(t *testing.T) {
	body := bytes.Repeat([]byte("shellspawn"), wire.MaxMessage/10+1)[:wire.MaxMessage]
	pieces := bytePieces(append(header(wire.KindReply, wire.MaxMessage), body...), 36<<10)
	kind, payload, err := wire.NewReader(source(&pieces), make([]byte, 16<<10)).Message()
	if err != nil || kind != wire.KindReply || !bytes.Equal(payload, body) {
		t.Errorf("kind %#x, %d bytes, %v", kind, len(payload), err)
	}
}

// The first buffer goes back, and what was in it is still read.
func TestReaderReleaseBuffer(t *testing.T) {
	signal := message(wire.Signal{Number: 1, Seq: 2})
	b := append(wire.AppendStart(nil, wire.Hello{Version: 1}, shell), signal...)
	first := make([]byte, 16<<10)
	n := copy(first, b[:len(b)-3])
	pieces := [][]byte{b[len(b)-3:]}
	r := wire.NewReader(source(&pieces), first)
	r.Prime(n, nil)
	if _, _, err := r.Opening(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Message(); err != nil {
		t.Fatal(err)
	}
	if back := r.ReleaseBuffer(); &back[0] != &first[0] || r.Buffered() != len(signal)-3 {
		t.Errorf("another buffer, or %d bytes left", r.Buffered())
	}
	clear(first)
	kind, payload, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	if got := decode(t, kind, payload); got != (wire.Signal{Number: 1, Seq: 2}) {
		t.Errorf("%+v", got)
	}
}

// The greeting of a later version may be longer; a shorter one, and one
// without the tripwire behind it, are none.
func TestOpening(t *testing.T) {
	good := wire.AppendStart(nil, wire.Hello{Version: 7, Features: 1 << 31, WaitedMillis: 9}, shell)[:20]
	longer := append([]byte{0, 1, 14, 0}, good[4:16]...)
	longer = append(append(longer, 0xee, 0xee), good[16:]...)
	for name, b := range map[string][]byte{"exact": good, "longer": longer} {
		r := wire.NewReader(source(&[][]byte{b}), nil)
		h, legacy, err := r.Opening()
		if err != nil || legacy || h != (wire.Hello{Version: 7, Features: 1 << 31, WaitedMillis: 9}) || r.Buffered() != 0 {
			t.Errorf("%s: %+v, legacy %v, %v, %d bytes left", name, h, legacy, err, r.Buffered())
		}
	}
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"shorter":               append([]byte{0, 1, 11, 0}, good[4:]...),
		"no tripwire":           change(16, 5),
		"high byte of tripwire": change(17, 1),
		"tripwire with payload": change(18, 1),
		"long tripwire":         change(19, 1),
	} {
		if _, _, err := wire.NewReader(source(&[][]byte{b}), nil).Opening(); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only the greeting is not the old dialect, whose unknown commands are skipped.
func TestOpeningDialect(t *testing.T) {
	for _, first := range []uint16{0, 1, 7, 8, 0xff, 0x101, 0x200, 0xffff} {
		b := append(binary.LittleEndian.AppendUint16(nil, first), 0, 0)
		r := wire.NewReader(source(&[][]byte{b}), nil)
		if _, legacy, err := r.Opening(); err != nil || !legacy || r.Buffered() != 4 {
			t.Errorf("first command %#x: legacy %v, %v, %d bytes left", first, legacy, err, r.Buffered())
		}
		if wire.OpensModern([2]byte(b)) {
			t.Errorf("first command %#x opens the new dialect", first)
		}
	}
	if !wire.OpensModern([2]byte{0, 1}) {
		t.Error("the greeting does not open the new dialect")
	}
}
