package logs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// burst is how many lines that say the same are written before the others are folded.
	burst = 3

	// period is how often a line says how many were folded. A quiet one ends that.
	period = 10 * time.Second

	// most is how many different things are told apart. Beyond, a line counts by its message.
	most = 256

	// told is how many bytes of a value tell lines apart.
	told = 256
)

// fold is a handler that writes the first few of warnings and errors that say the same,
// and counts the others.
type fold struct {
	slog.Handler
	of    *folds
	attrs string // of those given by With, what tells lines apart
}

// folds are what the handlers of one logger share.
type folds struct {
	mu   sync.Mutex
	seen map[string]*folding
}

// folding is one thing that is said again and again.
type folding struct {
	written int // in this period
	last    slog.Record
	by      slog.Handler
	n       int // folded, and not told yet
	timer   *time.Timer
}

func newFold(h slog.Handler) *fold {
	return &fold{Handler: h, of: &folds{seen: make(map[string]*folding)}}
}

func (f *fold) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(f.attrs)
	for _, a := range attrs {
		tell(&b, a)
	}
	return &fold{f.Handler.WithAttrs(attrs), f.of, b.String()}
}

func (f *fold) WithGroup(name string) slog.Handler {
	return &fold{f.Handler.WithGroup(name), f.of, f.attrs}
}

func (f *fold) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || f.of.write(f.key(&r), f.Handler, r) {
		return f.Handler.Handle(ctx, r)
	}
	return nil
}

// key is what a line says: its message, and why. Which task it is about does not count,
// and no number does: addresses, times and sizes differ in what is the same otherwise.
func (f *fold) key(r *slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Level.String())
	b.WriteString(r.Message[:min(len(r.Message), told)])
	b.WriteString(f.attrs)
	r.Attrs(func(a slog.Attr) bool {
		tell(&b, a)
		return true
	})
	return b.String()
}

// tell adds what of an attribute tells lines apart.
func tell(b *strings.Builder, a slog.Attr) {
	switch a.Key {
	case "":
		if a.Value.Kind() == slog.KindGroup {
			for _, in := range a.Value.Group() {
				tell(b, in)
			}
		}
		return
	case Err, Lane, Batch, "cause", "panic", "type", "why", "hint":
	default:
		return
	}
	text := a.Value.Resolve().String()
	b.WriteByte(0)
	digits := false
	for i := range min(len(text), told) {
		c := text[i]
		if c < '0' || c > '9' {
			b.WriteByte(c)
			digits = false
			continue
		}
		if !digits {
			b.WriteByte('#')
		}
		digits = true
	}
}

// write says that a line is to be written now.
func (f *folds) write(key string, by slog.Handler, r slog.Record) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seen[key]
	if s == nil && len(f.seen) >= most {
		key = r.Level.String() + r.Message[:min(len(r.Message), told)]
		if s = f.seen[key]; s == nil && len(f.seen) >= 2*most {
			key = "" // messages that are all different, too
			s = f.seen[key]
		}
	}
	if s == nil {
		s = &folding{}
		f.seen[key] = s
		s.timer = time.AfterFunc(period, func() { f.due(key) })
	}
	if s.written < burst {
		s.written++
		return true
	}
	s.n++
	s.last, s.by = r.Clone(), by
	return false
}

// due ends a period of one thing.
func (f *folds) due(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seen[key]
	if s == nil {
		return
	}
	if s.n == 0 {
		delete(f.seen, key)
		return
	}
	s.tell()
	s.timer.Reset(period)
}

// tell writes the last of those that were folded, and how many others it stands for.
func (s *folding) tell() {
	r := s.last.Clone()
	r.AddAttrs(slog.Int(Folded, s.n-1))
	_ = s.by.Handle(context.Background(), r)
	s.n, s.last, s.by = 0, slog.Record{}, nil
}

// flush tells now of all that were folded.
func (f *fold) flush() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	for _, s := range f.of.seen {
		if s.n > 0 {
			s.tell()
		}
	}
}
