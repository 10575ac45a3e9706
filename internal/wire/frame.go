package wire

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Version is the version of the dialect that this package speaks. A daemon
// answers only the versions it knows and names both in its refusal.
const Version = 1

// Limits that are checked before anything is believed. MaxMessage leaves room
// for the most that execve(2) can take (6 MiB of strings and pointers).
// MaxLater is for what a client sends once its shell runs, so that one shell
// more costs the daemon no more than that.
const (
	MaxMessage     = 8 << 20
	MaxLater       = 4 << 10
	MaxStrings     = 1 << 20
	MaxDescriptors = 3
)

// Kind says what a message of the new dialect is.
type Kind uint16

// The kinds of message. Those below 0x200 are sent by the client.
const (
	KindStart   Kind = 0x101
	KindSignal  Kind = 0x102
	KindHangup  Kind = 0x103
	KindControl Kind = 0x104

	KindStarted Kind = 0x201
	KindError   Kind = 0x202
	KindExited  Kind = 0x203
	KindAck     Kind = 0x204
	KindReply   Kind = 0x205
)

// Errors on which a caller branches. Both end the connection.
var (
	ErrTooLarge = errors.New("message too large")
	ErrProtocol = errors.New("protocol error")
)

// protocolError is an ErrProtocol that says what was wrong.
type protocolError string

func (e protocolError) Error() string        { return "protocol error: " + string(e) }
func (e protocolError) Is(target error) bool { return target == ErrProtocol }

const (
	commandHello   = 0x100
	legacyHeader   = 4
	helloPayload   = 12
	opening        = legacyHeader + helloPayload + legacyHeader
	messageHeader  = 8
	tripwireOffset = legacyHeader + helloPayload
)

// Hello opens a connection in the new dialect.
type Hello struct {
	Version  uint16
	Features uint32
	// WaitedMillis is how long the client had to wait for a place in the
	// accept queue, in milliseconds; 0 if it did not.
	WaitedMillis uint32
}

// appendHello appends the opening: the greeting, dressed as a legacy command
// that an old daemon skips, and the tripwire, a legacy GO without descriptors,
// at which an old daemon closes the connection instead of waiting for ever.
func appendHello(b []byte, h Hello) []byte {
	b = appendLegacyHeader(b, commandHello, helloPayload)
	b = binary.LittleEndian.AppendUint16(b, h.Version)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, h.Features)
	b = binary.LittleEndian.AppendUint32(b, h.WaitedMillis)
	return appendLegacyHeader(b, uint16(LegacyGo), 0)
}

// parseHello reads the opening. Its greeting may be longer than ours: what a
// later version appends is skipped. The second result is the number of bytes
// the opening takes.
func parseHello(b []byte) (Hello, int, error) {
	length := int(binary.LittleEndian.Uint16(b[2:]))
	if length < helloPayload {
		return Hello{}, 0, protocolError("greeting of " + strconv.Itoa(length) + " bytes")
	}
	end := legacyHeader + length
	h := Hello{
		Version:      binary.LittleEndian.Uint16(b[4:]),
		Features:     binary.LittleEndian.Uint32(b[8:]),
		WaitedMillis: binary.LittleEndian.Uint32(b[12:]),
	}
	trip := b[end : end+legacyHeader]
	if binary.LittleEndian.Uint16(trip) != uint16(LegacyGo) || trip[2] != 0 || trip[3] != 0 {
		return Hello{}, 0, protocolError("no tripwire after the greeting")
	}
	return h, end + legacyHeader, nil
}

// OpensModern reports whether a connection that begins with these bytes speaks the
// new dialect.
func OpensModern(b [2]byte) bool { return binary.LittleEndian.Uint16(b[:]) == commandHello }

// openingSize is the number of bytes the opening in b takes, as announced by
// its first four bytes.
func openingSize(b []byte) int {
	return legacyHeader + int(binary.LittleEndian.Uint16(b[2:])) + legacyHeader
}

// beginMessage appends the header of a message; endMessage fills in its length
// once the payload stands behind it.
func beginMessage(b []byte, k Kind) ([]byte, int) {
	at := len(b)
	b = binary.LittleEndian.AppendUint16(b, uint16(k))
	b = binary.LittleEndian.AppendUint16(b, 0)
	return binary.LittleEndian.AppendUint32(b, 0), at
}

func endMessage(b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at+4:], uint32(len(b)-at-messageHeader))
	return b
}

// parseHeader reads a message's header.
func parseHeader(b []byte) (Kind, uint32) {
	return Kind(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint32(b[4:])
}
