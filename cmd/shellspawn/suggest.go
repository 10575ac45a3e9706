package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// unknown is a command or a flag that there is not, and what may have been meant.
type unknown struct {
	text    string
	instead string
}

func (u *unknown) Error() string { return u.text }

// unknownCommand finds the commands that a word may be a slip of.
func unknownCommand(word string) *unknown {
	u := &unknown{text: "unknown command " + strconv.Quote(word)}
	if name := nearest(word, slices.Sorted(maps.Keys(commands))); name != "" {
		u.instead = "'shellspawn " + name + "'"
	}
	return u
}

// unknownFlag does so for the flags of a command.
func unknownFlag(name string, f *pflag.FlagSet) *unknown {
	u := &unknown{text: "unknown flag --" + name}
	var names []string
	f.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	if name := nearest(name, names); name != "" {
		u.instead = "--" + name
	}
	return u
}

// unknownLetter is about short flags. The commands are taken for those of kill(1),
// which has its signals there.
func unknownLetter(e *pflag.NotExistError, f *pflag.FlagSet) *unknown {
	u := &unknown{text: "unknown flag -" + e.GetSpecifiedName()}
	letters := e.GetSpecifiedShortnames()
	if _, err := signalNumber(letters); err == nil && f.Lookup("s") != nil {
		u.text, u.instead = "unknown flag -"+letters, "-s "+letters
	}
	return u
}

// nearest returns the one name that begins like the word, or else the first of those
// that are nearest, two slips away at most; "" if there is none. A single letter may be
// anything.
func nearest(word string, names []string) string {
	var begin []string
	best, least := "", 3
	if len(word) < 2 {
		least = 0
	}
	for _, name := range names {
		if word != "" && strings.HasPrefix(name, word) {
			begin = append(begin, name)
		}
		if n := slips(word, name); n < least {
			best, least = name, n
		}
	}
	if len(begin) == 1 {
		return begin[0]
	}
	return best
}

// slips counts the letters to leave out, to put in or to replace on the way from a
// to b.
func slips(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
