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
	if subject != floorName && subject != bareName && !math.IsNaN(ratio) {
		s.put(measure, subject, fmt.Sprintf("%.2f", ratio))
	}
}

// count is for what is no ratio: it is counted, not timed.
func (s *summary) count(measure, subject string, n float64) {
	if subject != floorName {
		s.put(measure, subject, strings.TrimSuffix(number(n, "%.1f"), ".0"))
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

// reach is what is to be reached, by the beginning of a measure's name.
var reach = []struct{ measure, figure string }{
	{"one-shot, pipes", "≤ 1.65"},
	{"one-shot, pty", "≤ 1.50"},
	{"burst of 1024, pipes, starts/s", "≥ 0.48"},
	{"burst of 1024, pty, starts/s", "≥ 0.50"},
	{"burst of 1024, pipes, failed", "0"},
	{"burst of 1024, pty, failed", "0"},
	{"daemon alone, pipes, 8 at a time", "≥ 0.85"},
	{"daemon alone, pty, 8 at a time", "≥ 0.85"},
	{"throughput, pipes", "≥ 1.0"},
	{"throughput, pty out", "≥ 0.97"},
	{"1 MiB paste complete", "yes"},
	{"key echo", "≤ 1.10"},
	{"idle shell, pty, daemon PSS", "≤ 16"},
	{"idle shell, pty, daemon descriptors", "≤ 3"},
	{"idle shell, pty, daemon threads", "0"},
	{"idle shell, pty, client PSS", "≤ 600"},
	{"idle daemon", "0"},
	{"one more start beside 2000 shells", "≤ 1.1"},
}

// toReach is the figure to reach, or nothing.
func toReach(measure string) string {
	for _, r := range reach {
		if strings.HasPrefix(measure, r.measure) {
			return r.figure
		}
	}
	return ""
}

// readmeTable is the one table of the README: measures down, programs across.
func (b *bench) readmeTable() string {
	t := newTable(append([]string{"ratio to the floor, or a count", "to reach"}, b.summary.subjects...)...)
	for _, m := range b.summary.measures {
		row := []string{m, toReach(m)}
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
