package daemon

import "os"

// relaxMonitor lets the Go runtime look after its threads a little less often. As long
// as one of them does anything, the runtime's monitor thread wakes up every 20 µs to see
// whether it blocks, which while many shells are started takes an eighth of all that the
// daemon needs. With more slack, see PR_SET_TIMERSLACK in prctl(2), the kernel lets it
// wake up together with others; a thread that blocks is noticed a millisecond later.
//
// The monitor is the first thread that a Go program makes, and the kernel lists threads in
// that order. To set another thread's slack takes CAP_SYS_NICE; without it all stays as it is.
func relaxMonitor() {
	tasks, err := os.Open("/proc/self/task")
	if err != nil {
		return
	}
	defer tasks.Close()
	if threads, _ := tasks.Readdirnames(2); len(threads) == 2 {
		_ = os.WriteFile("/proc/"+threads[1]+"/timerslack_ns", []byte("1000000"), 0)
	}
}
