package main

import (
	"fmt"
	"time"
)

// series is one subject's part in a measure.
type series struct {
	name   string
	budget time.Duration           // after which it sits out; 0 for none
	run    func() (samples, error) // one round

	got   samples
	spent time.Duration
	err   error // why it takes no further part
}

// alternate lets all series take their turns, round by round, and in turn
// forwards and backwards, so that none always follows the same other. The
// first series is the floor. On a slow machine there are fewer rounds, as many
// as fit into limit, but one at least.
func alternate(rounds int, limit time.Duration, all ...*series) {
	began := time.Now()
	for round := range rounds {
		if round > 0 && time.Since(began) > limit {
			return
		}
		for i := range all {
			if round%2 == 1 {
				i = len(all) - 1 - i
			}
			all[i].take()
		}
	}
}

// take runs one round. A peer that fails or has used up its time is out.
func (s *series) take() {
	if s.err != nil || s.budget > 0 && s.spent >= s.budget {
		return
	}
	began := time.Now()
	v, err := s.run()
	s.spent += time.Since(began)
	if err != nil {
		s.err = err
		return
	}
	s.got = append(s.got, v...)
}

// failure is why s has fewer samples than others, or nothing.
func (s *series) failure() string {
	if s.err != nil {
		return fmt.Sprintf("%s: %v", s.name, s.err)
	}
	return ""
}

// single makes a round of what yields one sample.
func single(run func() (float64, error)) func() (samples, error) {
	return func() (samples, error) {
		v, err := run()
		return samples{v}, err
	}
}
