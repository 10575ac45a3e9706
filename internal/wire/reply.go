package wire

// What KindReply messages carry is JSON. Keys may be added in later versions;
// those that are here stay as they are.

// MaxReply is the most that one KindReply carries. A longer answer is sent in
// pieces, one message each; it ends where the connection does.
const MaxReply = 1 << 20

// Status answers the command of that name. It speaks of the socket through which
// it was asked for; with the exception of Shells and AcceptErrors, which are of
// the daemon as a whole.
type Status struct {
	Version       string            `json:"version"`
	UptimeSeconds int64             `json:"uptime_seconds"`
	PID           int               `json:"pid"`
	Socket        string            `json:"socket"`
	Backlog       Backlog           `json:"backlog"`
	Queue         Queue             `json:"queue"`
	Shells        Shells            `json:"shells"`
	AcceptErrors  map[string]uint64 `json:"accept_errors"`
}

// Backlog is the length of the accept queue: the one asked for, the one that the
// kernel granted, and the limit above which it grants nothing. It answers the
// command of that name, too.
type Backlog struct {
	Asked     int `json:"asked"`
	Effective int `json:"effective"`
	Somaxconn int `json:"somaxconn"`
}

// Queue is the state of the accept queue. Waited and LongestWaitSeconds are what
// clients told that found it full.
type Queue struct {
	Now                int     `json:"now"`
	Peak               int     `json:"peak"`
	Waited             uint64  `json:"waited"`
	LongestWaitSeconds float64 `json:"longest_wait_seconds"`
}

// Shells counts shells: those that run, all that were started, and the requests
// that were refused, by cause.
type Shells struct {
	Running int               `json:"running"`
	Total   uint64            `json:"total"`
	Refused map[string]uint64 `json:"refused"`
}

// Limits answers the command of that name: what the daemon was told not to exceed,
// 0 where it was told nothing, and how many descriptors it may have.
type Limits struct {
	MaxShells        int   `json:"max_shells"`
	MaxShellsPerUser int   `json:"max_shells_per_user"`
	Descriptors      int64 `json:"descriptors"`
}

// Row is one shell of the list.
type Row struct {
	ID         uint32 `json:"id"`
	User       string `json:"user"`
	UID        uint32 `json:"uid"`
	PID        int    `json:"pid"`
	TTY        string `json:"tty"`
	Program    string `json:"program"`
	AgeSeconds int64  `json:"age_seconds"`
	ClientPID  int    `json:"client_pid"`
	// State is "running", or "ending" after a hang-up.
	State string `json:"state"`
}

// Killed is what came of a kill for one shell. Error is empty if it was done.
type Killed struct {
	ID    uint32 `json:"id"`
	Error string `json:"error"`
}

// Stopping says how many shells a daemon that stops is waiting for. It is sent
// at once and again at each change; the connection closes when the daemon is
// gone.
type Stopping struct {
	PID     int `json:"pid"`
	Waiting int `json:"waiting"`
}
