package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// LegacyCommand is a command of the old dialect.
type LegacyCommand uint16

// The commands of the old dialect. Every other number is skipped by the daemon
// before GO.
const (
	LegacyAddArg    LegacyCommand = 1
	LegacySetEnv    LegacyCommand = 2
	LegacyChdir     LegacyCommand = 3
	LegacyGo        LegacyCommand = 4
	LegacySignal    LegacyCommand = 5
	LegacySetUIDGID LegacyCommand = 6
	LegacySetExec   LegacyCommand = 7
)

const maxLegacyPayload = 0xffff

func appendLegacyHeader(b []byte, command uint16, length int) []byte {
	b = binary.LittleEndian.AppendUint16(b, command)
	return binary.LittleEndian.AppendUint16(b, uint16(length))
}

// AppendLegacyString appends a command whose payload is a string. The NUL that
// ends it is counted in the length, as the original client does, which is also
// what makes the empty argument differ from none. A string that does not fit
// is ErrTooLarge.
func AppendLegacyString(b []byte, c LegacyCommand, s string) ([]byte, error) {
	if len(s)+1 > maxLegacyPayload {
		return b, ErrTooLarge
	}
	b = appendLegacyHeader(b, uint16(c), len(s)+1)
	b = append(b, s...)
	return append(b, 0), nil
}

// AppendLegacySetUIDGID appends the identity that the shell should have.
func AppendLegacySetUIDGID(b []byte, uid, gid uint32) []byte {
	b = appendLegacyHeader(b, uint16(LegacySetUIDGID), 8)
	b = binary.LittleEndian.AppendUint32(b, uid)
	return binary.LittleEndian.AppendUint32(b, gid)
}

// AppendLegacyGo appends the command that starts the shell; the caller sends
// its four bytes with the three descriptors.
func AppendLegacyGo(b []byte) []byte { return appendLegacyHeader(b, uint16(LegacyGo), 0) }

// AppendLegacySignal appends a request to pass a signal on.
func AppendLegacySignal(b []byte, number uint32) []byte {
	b = appendLegacyHeader(b, uint16(LegacySignal), 4)
	return binary.LittleEndian.AppendUint32(b, number)
}

// AppendLegacyStatus appends the four bytes that end a connection of the old
// dialect.
func AppendLegacyStatus(b []byte, status int32) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(status))
}

// ParseLegacyStatus reads the four bytes that end a connection.
func ParseLegacyStatus(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) }

// LegacyRequest is what the commands before GO add up to.
type LegacyRequest struct {
	// Exec is the program to run in place of the shell; empty for the shell.
	Exec  string
	Args  []string
	Env   []string
	Dir   string
	UID   uint32
	GID   uint32
	HasID bool

	size int
	set  map[string]int // where in Env a variable stands
}

// Apply takes one command into the request. Unknown commands are ignored; the
// total size is bounded like that of a message of the new dialect.
func (r *LegacyRequest) Apply(c LegacyCommand, payload []byte) error {
	r.size += legacyHeader + len(payload)
	if r.size > MaxMessage || len(r.Args)+len(r.Env) >= MaxStrings {
		return ErrTooLarge
	}
	switch c {
	case LegacyAddArg:
		if len(payload) > 0 {
			r.Args = append(r.Args, cString(payload))
		}
	case LegacySetEnv:
		r.setEnv(cString(payload))
	case LegacyChdir:
		if len(payload) > 0 {
			r.Dir = cString(payload)
		}
	case LegacySetExec:
		r.Exec, r.Args = cString(payload), nil
	case LegacySetUIDGID:
		return r.setID(payload)
	}
	return nil
}

// setEnv sets a variable anew if it was set before, as putenv(3) does. What has
// no name or no value is not a variable.
func (r *LegacyRequest) setEnv(v string) {
	name, _, ok := strings.Cut(v, "=")
	if !ok || name == "" {
		return
	}
	if at, ok := r.set[name]; ok {
		r.Env[at] = v
		return
	}
	if r.set == nil {
		r.set = make(map[string]int)
	}
	r.set[name] = len(r.Env)
	r.Env = append(r.Env, v)
}

func (r *LegacyRequest) setID(payload []byte) error {
	if len(payload) != 8 {
		return protocolError("SETUIDGID of " + strconv.Itoa(len(payload)) + " bytes")
	}
	r.UID = binary.LittleEndian.Uint32(payload)
	r.GID = binary.LittleEndian.Uint32(payload[4:])
	r.HasID = true
	return nil
}

// ParseLegacySignal reads the payload of a SIGNAL, the only command allowed
// after GO.
func ParseLegacySignal(c LegacyCommand, payload []byte) (uint32, error) {
	if c != LegacySignal {
		return 0, protocolError("command " + strconv.Itoa(int(c)) + " after GO")
	}
	if len(payload) != 4 {
		return 0, protocolError("SIGNAL of " + strconv.Itoa(len(payload)) + " bytes")
	}
	return binary.LittleEndian.Uint32(payload), nil
}

// cString cuts at the first NUL: the length may count it or not.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
