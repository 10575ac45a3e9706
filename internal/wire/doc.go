// Package wire is what travels on the socket: the frames of both dialects,
// their limits, and the passing of descriptors.
//
// It knows bytes and descriptors and nothing else: not who connects, not what
// a shell is. The layout is written down byte by byte in PROTOCOL.md beside
// this file. It imports neither net nor fmt, since the client links it and
// has to start fast.
package wire
