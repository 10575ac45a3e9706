package wire

// Started is the daemon's first answer: the program has been exec'd. With a
// pty the master travels on this message.
type Started struct {
	PID     uint32
	ID      uint32
	Warning string
}

// Error is the daemon's refusal, the last message of a connection.
type Error struct {
	// Status is what the client exits with: 125, 126 or 127.
	Status uint32
	// Errno is the system's error number, 0 if there is none.
	Errno uint32
	// Text is one line, "operation object: cause".
	Text string
	// Hint is what to try, or empty.
	Hint string
}

// Cause says why a shell ended.
type Cause uint32

// The causes. With all but CauseExited and CauseSignalled the daemon had a
// part in the end.
const (
	CauseExited Cause = iota
	CauseSignalled
	CauseHungUp
	CauseKilled
	CauseShutdown
)

// String is the cause as people read it.
func (c Cause) String() string {
	names := [...]string{"exited", "signalled", "hung up", "killed by operator", "daemon shutting down"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown cause"
}

// Exited is the end: the wait status as wait4(2) gives it, and the cause. The
// connection closes after it.
type Exited struct {
	WaitStatus uint32
	Cause      Cause
}

// Signal asks the daemon to pass a signal on. It answers with an Ack of the
// same number.
type Signal struct {
	Number uint32
	Seq    uint32
}

// AppendStarted appends a KindStarted message.
func AppendStarted(b []byte, m Started) []byte {
	b, at := beginMessage(b, KindStarted)
	b = appendUint32(b, "pid", false, m.PID)
	b = appendUint32(b, "id", false, m.ID)
	if m.Warning != "" {
		b = appendString(b, "warning", false, m.Warning)
	}
	return endMessage(b, at)
}

// ParseStarted reads the payload of a KindStarted message.
func ParseStarted(payload []byte) (m Started, err error) {
	err = eachField(payload, func(f field) (known bool, err error) {
		switch f.name {
		case "pid":
			m.PID, err = f.uint32()
		case "id":
			m.ID, err = f.uint32()
		case "warning":
			m.Warning, err = f.text()
		default:
			return false, nil
		}
		return true, err
	})
	return m, err
}

// AppendError appends a KindError message.
func AppendError(b []byte, m Error) []byte {
	b, at := beginMessage(b, KindError)
	b = appendUint32(b, "status", false, m.Status)
	b = appendUint32(b, "errno", false, m.Errno)
	b = appendString(b, "text", false, m.Text)
	if m.Hint != "" {
		b = appendString(b, "hint", false, m.Hint)
	}
	return endMessage(b, at)
}

// ParseError reads the payload of a KindError message.
func ParseError(payload []byte) (m Error, err error) {
	err = eachField(payload, func(f field) (known bool, err error) {
		switch f.name {
		case "status":
			m.Status, err = f.uint32()
		case "errno":
			m.Errno, err = f.uint32()
		case "text":
			m.Text, err = f.text()
		case "hint":
			m.Hint, err = f.text()
		default:
			return false, nil
		}
		return true, err
	})
	return m, err
}

// AppendExited appends a KindExited message.
func AppendExited(b []byte, m Exited) []byte {
	b, at := beginMessage(b, KindExited)
	b = appendUint32(b, "status", false, m.WaitStatus)
	b = appendUint32(b, "cause", false, uint32(m.Cause))
	return endMessage(b, at)
}

// ParseExited reads the payload of a KindExited message. One without a status
// is an error: a lost status must not look like success.
func ParseExited(payload []byte) (m Exited, err error) {
	found := false
	err = eachField(payload, func(f field) (known bool, err error) {
		switch f.name {
		case "status":
			found = true
			m.WaitStatus, err = f.uint32()
		case "cause":
			var c uint32
			c, err = f.uint32()
			m.Cause = Cause(c)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && !found {
		err = protocolError("exited without a status")
	}
	return m, err
}

// AppendSignal appends a KindSignal message.
func AppendSignal(b []byte, m Signal) []byte {
	b, at := beginMessage(b, KindSignal)
	b = appendUint32(b, "signal", true, m.Number)
	b = appendUint32(b, "seq", true, m.Seq)
	return endMessage(b, at)
}

// ParseSignal reads the payload of a KindSignal message.
func ParseSignal(payload []byte) (m Signal, err error) {
	err = eachField(payload, func(f field) (known bool, err error) {
		switch f.name {
		case "signal":
			m.Number, err = f.uint32()
		case "seq":
			m.Seq, err = f.uint32()
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && m.Number == 0 {
		err = protocolError("signal without a number")
	}
	return m, err
}

// AppendHangup appends a KindHangup message: the client's terminal is gone,
// hang the shell up as if the client were, but still report its end.
func AppendHangup(b []byte) []byte {
	b, at := beginMessage(b, KindHangup)
	return endMessage(b, at)
}

// AppendAck appends a KindAck message: the signal with that number has been
// sent on.
func AppendAck(b []byte, seq uint32) []byte {
	b, at := beginMessage(b, KindAck)
	b = appendUint32(b, "seq", false, seq)
	return endMessage(b, at)
}

// ParseAck reads the payload of a KindAck message.
func ParseAck(payload []byte) (seq uint32, err error) {
	err = eachField(payload, func(f field) (known bool, err error) {
		if f.name != "seq" {
			return false, nil
		}
		seq, err = f.uint32()
		return true, err
	})
	return seq, err
}
