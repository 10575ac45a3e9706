package daemon

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLog returns a logger for people (text) or machines (json). It never gets
// environment, arguments or terminal bytes to write, and its handlers quote
// control characters.
func NewLog(w io.Writer, level, format string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %s: not one of debug, info, warn, error", level)
	}
	o.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &o)), nil
	}
	return nil, fmt.Errorf("--log-format %s: not one of text, json", format)
}
