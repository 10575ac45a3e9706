package control

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// writeTable aligns columns as a terminal shows them, where some letters take two
// places and some none. The last column has no padding.
func writeTable(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b bytes.Buffer
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-columns(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

// columns is how many places a text takes on a terminal.
func columns(s string) (n int) {
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), r >= 0x1f300 && r < 0x1fb00:
		return 2
	}
	return 1
}

// shorten leaves out the beginning of a text that takes more than most places: paths
// of programs differ at their ends.
func shorten(s string, most int) string {
	n := columns(s)
	if n <= most {
		return s
	}
	for n > most-1 {
		r, size := utf8.DecodeRuneInString(s)
		n -= columnsOf(r)
		s = s[size:]
	}
	return "…" + s
}
