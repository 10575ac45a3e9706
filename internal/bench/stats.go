package main

import (
	"math"
	"slices"
)

// samples are what was measured, in the order of the rounds.
type samples []float64

// quantile is the smallest sample that at least the share q of all do not
// exceed. Nothing is interpolated: what is printed has happened.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

func (s samples) median() float64 { return s.quantile(0.5) }
func (s samples) p99() float64    { return s.quantile(0.99) }

// ratio compares two series that took turns.
type ratio struct {
	medians float64 // the one median by the other
	lo, hi  float64 // quartiles of the ratios of single rounds
}

// ratioTo compares s with base, by rounds as far as both got.
func (s samples) ratioTo(base samples) ratio {
	n := min(len(s), len(base))
	if n == 0 {
		return ratio{math.NaN(), math.NaN(), math.NaN()}
	}
	rounds := make(samples, n)
	for i := range rounds {
		rounds[i] = s[i] / base[i]
	}
	return ratio{s[:n].median() / base[:n].median(), rounds.quantile(0.25), rounds.quantile(0.75)}
}
