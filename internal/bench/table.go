package main

import (
	"fmt"
	"math"
	"strings"
)

// table is printed as Markdown once it is complete.
type table struct {
	head  []string
	rows  [][]string
	notes []string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// note adds a line below the table; an empty one is left out.
func (t *table) note(text string) {
	if text != "" {
		t.notes = append(t.notes, text)
	}
}

func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.head)
	b.WriteString("| --- |" + strings.Repeat(" ---: |", len(t.head)-1) + "\n")
	for _, cells := range t.rows {
		line(cells)
	}
	for _, note := range t.notes {
		b.WriteString("\n" + note + "\n")
	}
	return b.String()
}

func (t *table) print() { fmt.Println(t) }

// milli and micro are the units that a latency is printed in, from seconds.
func milli(v float64) string { return number(v*1e3, "%.2f") }
func micro(v float64) string { return number(v*1e6, "%.0f") }

func number(v float64, format string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

func (r ratio) String() string {
	if math.IsNaN(r.medians) {
		return "–"
	}
	return fmt.Sprintf("**%.2f** (%.2f–%.2f)", r.medians, r.lo, r.hi)
}

// latencies prints one table of all series, compared with the first, and keeps
// the ratios for the summary.
func (b *bench) latencies(measure string, unit string, print func(float64) string, all []*series) {
	t := newTable("subject", "median "+unit, "p99 "+unit, "ratio to the floor", "rounds")
	for _, s := range all {
		r := s.got.ratioTo(all[0].got)
		t.row(s.name, print(s.got.median()), print(s.got.p99()), r.String(), fmt.Sprint(len(s.got)))
		t.note(s.failure())
		b.summary.add(measure, s.name, r.medians)
	}
	t.print()
}
