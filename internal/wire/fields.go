package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// A payload is a row of named fields: one byte with the length of the name, one
// of flags, four with the length of the value, then name and value. Names
// travel in the message so that a receiver can refuse by name a field that it
// does not know and must not ignore.
const (
	fieldHeader   = 6
	fieldRequired = 1
)

// appendField appends one field. A required one makes a receiver that does not
// know the name refuse the whole message.
func appendField(b []byte, name string, required bool, value []byte) []byte {
	b = appendFieldHeader(b, name, required, len(value))
	return append(b, value...)
}

func appendFieldHeader(b []byte, name string, required bool, size int) []byte {
	var flags byte
	if required {
		flags = fieldRequired
	}
	b = append(b, byte(len(name)), flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	return append(b, name...)
}

func appendString(b []byte, name string, required bool, value string) []byte {
	b = appendFieldHeader(b, name, required, len(value))
	return append(b, value...)
}

func appendUint32(b []byte, name string, required bool, v uint32) []byte {
	b = appendFieldHeader(b, name, required, 4)
	return binary.LittleEndian.AppendUint32(b, v)
}

// appendList appends strings as one field, each ended by a NUL, which none of
// them can contain: they are what execve(2) takes.
func appendList(b []byte, name string, required bool, list []string) []byte {
	size := len(list)
	for _, s := range list {
		size += len(s)
	}
	b = appendFieldHeader(b, name, required, size)
	for _, s := range list {
		b = append(b, s...)
		b = append(b, 0)
	}
	return b
}

// field is one field as it was found in a payload; value is a part of it.
type field struct {
	name     string
	required bool
	value    []byte
}

// nextField cuts the first field off payload.
func nextField(payload []byte) (f field, rest []byte, err error) {
	if len(payload) < fieldHeader {
		return field{}, nil, protocolError("field cut short")
	}
	nameLen := int(payload[0])
	size := uint64(binary.LittleEndian.Uint32(payload[2:]))
	body := payload[fieldHeader:]
	if uint64(nameLen)+size > uint64(len(body)) {
		return field{}, nil, protocolError("field longer than its message")
	}
	f = field{
		name:     string(body[:nameLen]),
		required: payload[1]&fieldRequired != 0,
		value:    body[nameLen : nameLen+int(size)],
	}
	return f, body[nameLen+int(size):], nil
}

// eachField calls set for every field. set answers false for a name it does
// not know: such a field is skipped, unless it is required. One that it knows
// may stand only once, so that no two receivers can disagree on which counts.
func eachField(payload []byte, set func(field) (known bool, err error)) error {
	var names [16]string // more than any message has fields
	seen := names[:0]
	for len(payload) > 0 {
		f, rest, err := nextField(payload)
		if err != nil {
			return err
		}
		payload = rest
		if slices.Contains(seen, f.name) {
			return protocolError(f.name + " twice")
		}
		known, err := set(f)
		switch {
		case err != nil:
			return err
		case known:
			seen = append(seen, f.name)
		case f.required:
			return &UnknownFieldError{Name: printable(f.name)}
		}
	}
	return nil
}

// UnknownFieldError says that a message needs something its receiver does not
// know, so that it was refused.
type UnknownFieldError struct{ Name string }

func (e *UnknownFieldError) Error() string {
	return "field \"" + e.Name + "\" is required and not known to this version"
}

// Is makes the error an ErrProtocol as well.
func (e *UnknownFieldError) Is(target error) bool { return target == ErrProtocol }

// printable keeps a peer's bytes from reaching a terminal or log as they are.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func (f field) uint32() (uint32, error) {
	if len(f.value) != 4 {
		return 0, protocolError(f.name + " is not four bytes")
	}
	return binary.LittleEndian.Uint32(f.value), nil
}

// text is a value that goes to a system call as a C string.
func (f field) text() (string, error) {
	if bytes.IndexByte(f.value, 0) >= 0 {
		return "", protocolError(f.name + " contains a NUL")
	}
	return string(f.value), nil
}

// list takes apart what appendList wrote.
func (f field) list() ([]string, error) {
	if len(f.value) == 0 {
		return nil, nil
	}
	if f.value[len(f.value)-1] != 0 {
		return nil, protocolError(f.name + " does not end in a NUL")
	}
	count := bytes.Count(f.value, []byte{0})
	if count > MaxStrings {
		return nil, ErrTooLarge
	}
	rest := string(f.value)
	list := make([]string, 0, count)
	for rest != "" {
		end := strings.IndexByte(rest, 0)
		list = append(list, rest[:end])
		rest = rest[end+1:]
	}
	return list, nil
}
