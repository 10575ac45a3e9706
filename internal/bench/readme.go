package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// summary holds the ratios that go into the README, in the order they came.
type summary struct {
	measures []string
	subjects []string
	ratios   map[[2]string]string
}

func (s *summary) add(measure, subject string, ratio float64) {
	if subject != floorName && !math.IsNaN(ratio) {
		s.put(measure, subject, fmt.Sprintf("%.2f", ratio))
	}
}

func (s *summary) put(measure, subject, text string) {
	if s.ratios == nil {
		s.ratios = make(map[[2]string]string)
	}
	if !slices.Contains(s.measures, measure) {
		s.measures = append(s.measures, measure)
	}
	if !slices.Contains(s.subjects, subject) {
		s.subjects = append(s.subjects, subject)
	}
	s.ratios[[2]string{measure, subject}] = text
}

// readmeTable is the one table of the README: measures down, programs across.
func (b *bench) readmeTable() string {
	t := newTable(append([]string{"ratio to the floor"}, b.summary.subjects...)...)
	for _, m := range b.summary.measures {
		row := []string{m}
		for _, subject := range b.summary.subjects {
			text := b.summary.ratios[[2]string{m, subject}]
			if text == "" {
				text = "–"
			}
			row = append(row, text)
		}
		t.row(row...)
	}
	return b.machine + " The floor is " + strings.ReplaceAll(b.floor.about, "**", "") + ".\n\n" + t.String()
}

const (
	readmeBegin = "<!-- bench:begin -->\n"
	readmeEnd   = "<!-- bench:end -->"
)

// updateReadme puts the table between the two markers of the file.
func updateReadme(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(readmeBegin))
	_, after, ends := bytes.Cut(rest, []byte(readmeEnd))
	if !begins || !ends {
		return fmt.Errorf("update %s: no lines %q and %q in this order", path, strings.TrimSpace(readmeBegin), readmeEnd)
	}
	text = slices.Concat(before, []byte(readmeBegin), []byte(table), []byte(readmeEnd), after)
	return os.WriteFile(path, text, 0o644)
}
