package spawntest

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Piece is what one side of a recorded conversation sends at once.
type Piece struct {
	FromClient  bool
	Bytes       []byte
	Descriptors int // how many travel on its first byte
}

// Transcripts names the conversations in testdata/wire.
func Transcripts(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(transcriptDir(t), "*.hex"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(path), ".hex")
	}
	return names
}

// Transcript reads one conversation. The last chapter of PROTOCOL.md describes
// the form of the file.
func Transcript(t testing.TB, name string) (pieces []Piece) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(transcriptDir(t), name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var now Piece
	end := func() {
		if len(now.Bytes) > 0 {
			pieces = append(pieces, now)
		}
		now = Piece{}
	}
	for line := range strings.Lines(string(text)) {
		body, comment, _ := strings.Cut(line, "#")
		words := strings.Fields(body)
		if len(words) == 0 {
			if comment == "" {
				end()
			}
			continue
		}
		if (words[0] == "C") != now.FromClient {
			end()
		}
		now.FromClient = words[0] == "C"
		if err := now.add(words[1:]); err != nil || words[0] != "C" && words[0] != "S" {
			t.Fatalf("transcript %s: line %q: %v", name, line, err)
		}
	}
	end()
	return pieces
}

// add takes the words of one line behind its first.
func (p *Piece) add(words []string) (err error) {
	if words[0] == "fds" {
		p.Descriptors, err = strconv.Atoi(words[1])
		return err
	}
	b, err := hex.DecodeString(strings.Join(words, ""))
	p.Bytes = slices.Concat(p.Bytes, b)
	return err
}

// Side joins what one side sends.
func Side(pieces []Piece, client bool) (b []byte) {
	for _, p := range pieces {
		if p.FromClient == client {
			b = append(b, p.Bytes...)
		}
	}
	return b
}

func transcriptDir(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "testdata", "wire")
}
