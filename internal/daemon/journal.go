package daemon

import (
	"context"
	"io"
	"log/slog"
)

// journalHandler puts the priority in front of each line, as in sd-daemon(3). The
// handlers behind it differ only in where they write: the level of a record is
// known here, the text of its line only there.
type journalHandler struct{ debug, info, warn, err slog.Handler }

func newJournalHandler(w io.Writer, handler func(io.Writer) slog.Handler) journalHandler {
	at := func(priority string) slog.Handler { return handler(prefixed{w, priority}) }
	return journalHandler{at("<7>"), at("<6>"), at("<4>"), at("<3>")}
}

func (h journalHandler) at(level slog.Level) slog.Handler {
	switch {
	case level < slog.LevelInfo:
		return h.debug
	case level < slog.LevelWarn:
		return h.info
	case level < slog.LevelError:
		return h.warn
	}
	return h.err
}

func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.at(level).Enabled(ctx, level)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.at(r.Level).Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{h.debug.WithAttrs(attrs), h.info.WithAttrs(attrs), h.warn.WithAttrs(attrs), h.err.WithAttrs(attrs)}
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return journalHandler{h.debug.WithGroup(name), h.info.WithGroup(name), h.warn.WithGroup(name), h.err.WithGroup(name)}
}

// prefixed writes a priority in front of each line. A slog.Handler makes one
// call of Write for a line.
type prefixed struct {
	w        io.Writer
	priority string
}

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// dropTime leaves the time of a record to the journal.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
