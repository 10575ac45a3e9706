package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// seeds adds what both sides say in every transcript.
func seeds(f *testing.F, add func(b []byte)) {
	for _, name := range spawntest.Transcripts(f) {
		pieces := spawntest.Transcript(f, name)
		add(spawntest.Side(pieces, true))
		add(spawntest.Side(pieces, false))
	}
}

// FuzzReader: any bytes, in any pieces, are the same messages as in one piece,
// and no message holds more than what was sent.
func FuzzReader(f *testing.F) {
	seeds(f, func(b []byte) {
		f.Add(b, true, uint16(1))
		f.Add(b, false, uint16(7))
	})
	f.Fuzz(func(t *testing.T, b []byte, client bool, size uint16) {
		want, end := stream(wire.NewReader(source(&[][]byte{b}), nil), client)
		pieces := bytePieces(b, int(size)+1)
		r := wire.NewReader(source(&pieces), make([]byte, 64))
		got, err := stream(r, client)
		if !reflect.DeepEqual(got, want) || err.Error() != end.Error() {
			t.Errorf("in pieces of %d: %q, %v; whole: %q, %v", int(size)+1, got, err, want, end)
		}
		if r.Buffered() > len(b) {
			t.Errorf("%d of %d bytes left", r.Buffered(), len(b))
		}
	})
}

// FuzzStart: a start request that is understood says the same when it is sent
// on.
func FuzzStart(f *testing.F) {
	payloads(f, func(kind wire.Kind, payload []byte) {
		if kind == wire.KindStart {
			f.Add(payload)
		}
	})
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := wire.ParseStart(payload)
		if err != nil {
			return
		}
		again, err := wire.ParseStart(message(s)[8:])
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v, %v; want %+v", again, err, s)
		}
	})
}

// FuzzMessage: the same for every other kind.
func FuzzMessage(f *testing.F) {
	payloads(f, func(kind wire.Kind, payload []byte) { f.Add(uint16(kind), payload) })
	f.Fuzz(func(t *testing.T, kind uint16, payload []byte) {
		m, err := parse(wire.Kind(kind), payload)
		if err != nil {
			return
		}
		again, err := parse(wire.Kind(kind), message(m)[8:])
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v, %v; want %+v", again, err, m)
		}
	})
}

// payloads hands over every message of the transcripts.
func payloads(f *testing.F, add func(wire.Kind, []byte)) {
	seeds(f, func(b []byte) {
		r := wire.NewReader(source(&[][]byte{b}), nil)
		if len(b) > 1 && b[0] == 0 && b[1] == 1 {
			if _, _, err := r.Opening(); err != nil {
				f.Fatal(err)
			}
		}
		for {
			kind, payload, err := r.Message()
			if err != nil {
				return
			}
			add(kind, bytes.Clone(payload))
		}
	})
}

// FuzzLegacy: commands of the old dialect add up to a request that is the same
// when it is sent as a client would, and within its bounds.
func FuzzLegacy(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		req, complete := readLegacy(b)
		if req == nil {
			return
		}
		size := len(req.Exec) + len(req.Dir)
		for _, s := range append(req.Args[:len(req.Args):len(req.Args)], req.Env...) {
			size += len(s)
		}
		if size > len(b) {
			t.Errorf("%d bytes of strings from %d bytes", size, len(b))
		}
		sent := sendLegacy(req)
		if !complete || sent == nil {
			return
		}
		again, _ := readLegacy(sent)
		if again.Exec != req.Exec || again.Dir != req.Dir || again.HasID != req.HasID ||
			again.UID != req.UID || again.GID != req.GID ||
			!reflect.DeepEqual(again.Args, req.Args) || !reflect.DeepEqual(again.Env, req.Env) {
			t.Errorf("%+v, want %+v", again, req)
		}
	})
}

// readLegacy reads commands up to GO. The request is nil if one was refused.
func readLegacy(b []byte) (req *wire.LegacyRequest, complete bool) {
	r := wire.NewReader(source(&[][]byte{b}), nil)
	req = &wire.LegacyRequest{}
	for {
		c, payload, err := r.Legacy()
		if err != nil {
			return req, false
		}
		if c == wire.LegacyGo {
			return req, true
		}
		if req.Apply(c, payload) != nil {
			return nil, false
		}
	}
}

// sendLegacy is nil if a string fills its command, with no room for the NUL that
// a client sends.
func sendLegacy(req *wire.LegacyRequest) (b []byte) {
	var failed error
	add := func(c wire.LegacyCommand, s string) {
		var err error
		if b, err = wire.AppendLegacyString(b, c, s); err != nil {
			failed = err
		}
	}
	for _, v := range req.Env {
		add(wire.LegacySetEnv, v)
	}
	if req.Exec != "" {
		add(wire.LegacySetExec, req.Exec)
	}
	for _, a := range req.Args {
		add(wire.LegacyAddArg, a)
	}
	if req.Dir != "" {
		add(wire.LegacyChdir, req.Dir)
	}
	if req.HasID {
		b = wire.AppendLegacySetUIDGID(b, req.UID, req.GID)
	}
	if failed != nil {
		return nil
	}
	return wire.AppendLegacyGo(b)
}
