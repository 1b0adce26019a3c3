package logs

import (
	"io"
	"log/slog"
)

// Options say how a logger writes.
type Options struct {
	Level slog.Level
	JSON  bool
}

// New returns a logger to w, and what writes how many lines were folded and not told yet.
func New(w io.Writer, o Options) (log *slog.Logger, flush func()) {
	ho := &slog.HandlerOptions{Level: o.Level}
	var h slog.Handler = slog.NewTextHandler(w, ho)
	if o.JSON {
		h = slog.NewJSONHandler(w, ho)
	}
	f := newFold(h)
	return slog.New(f), f.flush
}
