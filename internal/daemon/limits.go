package daemon

import (
	"math"
	"strconv"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// acquire takes a place for one shell of uid, release gives it back. The limits are
// on shells, not on connections: those are accepted and told which limit they
// met.
func (d *Daemon) acquire(uid uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return stoppingRefusal()
	}
	limits := d.now()
	if limit := limits.MaxShells; limit > 0 && d.places >= limit {
		return refuse("max-shells", "start: limit of "+strconv.Itoa(limit)+" in total reached", "'shellspawn list' shows what runs; --max-shells of the daemon sets the limit")
	}
	if limit := limits.MaxShellsPerUser; limit > 0 && d.perUser[uid] >= limit {
		return refuse("max-shells-per-user", "start: limit of "+strconv.Itoa(limit)+" per user reached", "'shellspawn list' shows what runs; --max-shells-per-user of the daemon sets the limit")
	}
	d.places++
	d.perUser[uid]++
	return nil
}

// release is called with the mutex held.
func (d *Daemon) release(uid uint32) {
	d.places--
	if d.perUser[uid]--; d.perUser[uid] == 0 {
		delete(d.perUser, uid)
	}
}

// controlLimits tells the limits, so that somebody can compare them with those of
// the machine.
func (cn *conn) controlLimits([]string) error {
	var descriptors unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return refuse("control", "getrlimit: "+err.Error(), "")
	}
	s := cn.daemon.now()
	return cn.reply(wire.Limits{
		MaxShells: s.MaxShells, MaxShellsPerUser: s.MaxShellsPerUser,
		Descriptors: int64(min(descriptors.Cur, math.MaxInt64)),
	})
}

// countRefused counts a refusal under its cause.
func (d *Daemon) countRefused(cause string) {
	d.mu.Lock()
	d.refused[cause]++
	d.mu.Unlock()
}

// noteWaited keeps what clients say of their wait for the accept queue.
func (d *Daemon) noteWaited(millis uint32) {
	if millis == 0 {
		return
	}
	d.mu.Lock()
	d.waited++
	d.longestWait = max(d.longestWait, millis)
	d.mu.Unlock()
}
