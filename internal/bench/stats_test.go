package main

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	hundred := make(samples, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, row := range []struct {
		name string
		s    samples
		q    float64
		want float64
	}{
		{"one sample", samples{7}, 0.99, 7},
		{"median of an even number", samples{4, 1, 3, 2}, 0.5, 2},
		{"median of an odd number", samples{9, 1, 5}, 0.5, 5},
		{"p99 of a hundred", hundred, 0.99, 99},
		{"the largest", hundred, 1, 100},
		{"the smallest", hundred, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.s.quantile(row.q); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
	if !math.IsNaN(samples(nil).median()) {
		t.Error("the median of nothing is a number")
	}
}

func TestRatio(t *testing.T) {
	base := samples{1, 2, 4, 2}
	r := samples{2, 4, 8, 4}.ratioTo(base)
	if r != (ratio{2, 2, 2}) {
		t.Errorf("got %+v, want 2 throughout", r)
	}
	// A peer that was cut short is compared with the rounds it took part in.
	r = samples{3, 6}.ratioTo(samples{1, 2, 100, 100})
	if r.medians != 3 || r.lo != 3 || r.hi != 3 {
		t.Errorf("got %+v, want 3 throughout", r)
	}
	if r := (samples{}).ratioTo(base); !math.IsNaN(r.medians) {
		t.Errorf("got %+v for no samples", r)
	}
}
