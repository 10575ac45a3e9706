package main

import "time"

// sizes are the numbers that make a run long or short.
type sizes struct {
	rounds     int           // one-shot runs of each subject
	peerBudget time.Duration // what one peer may take of a measure
	bursts     []int         // clients at once
	burstRuns  []int         // how often, for each of bursts
	peerBurst  int           // the one of bursts in which peers take part
	starts     int           // of the daemon alone, for each series
	series     int
	pipeBytes  int
	ptyBytes   int
	ptyInput   int
	copies     int // how often a throughput is taken
	keys       int
	shells     []int // idle shells
	moreStarts int   // beside the idle ones
	calm       time.Duration
	limit      time.Duration // for each table, by which its rounds are cut
	total      time.Duration // for everything, see (*bench).limit
	end        time.Duration // when whatever still goes on is given up
}

var full = sizes{
	rounds: 400, peerBudget: time.Second,
	bursts: []int{64, 256, 1024}, burstRuns: []int{9, 5, 3}, peerBurst: 256,
	starts: 400, series: 9,
	pipeBytes: 256 << 20, ptyBytes: 24 << 20, ptyInput: 3 << 20, copies: 5,
	keys:   500,
	shells: []int{10, 100, 1000, 2000}, moreStarts: 150, calm: 6 * time.Second,
	limit: 7 * time.Second, total: 125 * time.Second, end: 168 * time.Second,
}

var quick = sizes{
	rounds: 40, peerBudget: 300 * time.Millisecond,
	bursts: []int{64}, burstRuns: []int{2},
	starts: 100, series: 2,
	pipeBytes: 64 << 20, ptyBytes: 4 << 20, ptyInput: 512 << 10, copies: 2,
	keys:   50,
	shells: []int{10, 100}, moreStarts: 20, calm: time.Second,
	limit: 3 * time.Second, total: 40 * time.Second, end: 120 * time.Second,
}

// tables is how many series of rounds a run takes.
const tables = 3 + 2*3 + 2 + 4 + 2 + 2*4

// patience bounds whatever should be over at once: who takes longer hangs.
const patience = 10 * time.Second
