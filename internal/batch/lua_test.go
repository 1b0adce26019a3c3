package batch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

var argRE = regexp.MustCompile(`\b(KEYS|ARGV)\[(\d+)\]`)

// argsIn are the KEYS[n] and ARGV[n] that a text names.
func argsIn(text string) []string {
	got := argRE.FindAllString(text, -1)
	slices.Sort(got)
	return slices.Compact(got)
}

// split parts a script in its header, the comment it begins with, and its body
// without comments.
func split(src string) (header, body string) {
	inHeader := true
	for line := range strings.Lines(src) {
		code, comment, _ := strings.Cut(line, "--")
		inHeader = inHeader && strings.TrimSpace(code) == ""
		if inHeader {
			header += comment
		} else {
			body += code + "\n"
		}
	}
	return header, body
}

var scripts = map[string]string{
	"begin.lua": beginSrc, "checkpoint.lua": checkpointSrc, "create.lua": createSrc, "lease.lua": leaseSrc,
	"crash.lua": crashSrc, "note.lua": noteSrc, "rest.lua": restSrc, "take.lua": takeSrc,
	"record.lua": recordSrc, "release.lua": releaseSrc, "seal.lua": sealSrc, "trim.lua": trimSrc,
}

// calls notes what each script is called with, by its hash.
type calls struct {
	redis.Hook
	seen map[string][]string
}

func (h *calls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" || cmd.Name() == "eval" {
			args := cmd.Args()
			n := args[2].(int)
			var named []string
			for i := range args[3:] {
				if i < n {
					named = append(named, fmt.Sprintf("KEYS[%d]", i+1))
				} else {
					named = append(named, fmt.Sprintf("ARGV[%d]", i-n+1))
				}
			}
			slices.Sort(named)
			h.seen[fmt.Sprint(args[1])] = named
		}
		return next(ctx, cmd)
	}
}

func (h *calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestScriptsAreCalledWithWhatTheirHeadersName(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	h := &calls{seen: make(map[string][]string)}
	c.AddHook(h)
	l := newFixture(t, c)
	for _, op := range operations {
		op.do(l)
	}
	for name, src := range scripts {
		header, _ := split(src)
		called := h.seen[redis.NewScript(src).Hash()]
		if strings.Contains(header, "argument on") { // and the same for each task
			called = slices.DeleteFunc(called, func(arg string) bool { return strings.HasPrefix(arg, "ARGV") && !strings.Contains(header, arg) })
		}
		if named := argsIn(header); !slices.Equal(named, called) {
			t.Errorf("%s: the header names %v, it is called with %v", name, named, called)
		}
	}
}

// operations is every way to change a batch, in an order in which each can.
var operations = []struct {
	name string
	do   func(l *fixture) (answer string)
}{
	{"create", func(l *fixture) string {
		_, err := l.Create(l.ctx, "b", someOptions)
		return fmt.Sprint(err)
	}},
	{"lease", func(l *fixture) string {
		holder, err := l.Lease(l.ctx, "b", "me", "", minute)
		return fmt.Sprint(holder, err)
	}},
	{"add lane", func(l *fixture) string { return fmt.Sprint(l.AddLane(l.ctx, "b", "slow")) }},
	{"begin", func(l *fixture) string {
		a, o, err := l.Begin(l.ctx, "b", 0)
		return fmt.Sprint(a, o, err)
	}},
	{"crash", func(l *fixture) string {
		n, err := l.CountCrash(l.ctx, "b", 0, "17")
		return fmt.Sprint(n, err)
	}},
	{"crash again", func(l *fixture) string {
		n, err := l.CountCrash(l.ctx, "b", 0, "18")
		return fmt.Sprint(n, err)
	}},
	{"begin alone", func(l *fixture) string {
		a, o, err := l.BeginAlone(l.ctx, "b", 0, 7)
		return fmt.Sprint(a, o, err)
	}},
	{"note", func(l *fixture) string {
		return fmt.Sprint(l.Note(l.ctx, "b", 2, Try{Attempt: 1, Worker: "w", Class: Timeout, Error: "slow"}))
	}},
	{"rest", func(l *fixture) string { return fmt.Sprint(l.Rest(l.ctx, "b", 0)) }},
	{"record ok", func(l *fixture) string {
		_, err := l.Record(l.ctx, "b", outcome(0, OK), time.Second, nil)
		return fmt.Sprint(err)
	}},
	{"record failed", func(l *fixture) string {
		o := outcome(1, Failed)
		o.Attempts = 4
		_, err := l.Record(l.ctx, "b", o, time.Second, []byte(`{"n":1}`))
		return fmt.Sprint(err)
	}},
	{"advance", func(l *fixture) string {
		return fmt.Sprint(l.Advance(l.ctx, "b", Mark{}, Mark{1, 1, 3}, "ab"))
	}},
	{"advance to the end", func(l *fixture) string {
		return fmt.Sprint(l.Advance(l.ctx, "b", Mark{1, 1, 3}, At(3), "abc"))
	}},
	{"checkpoint", func(l *fixture) string { return fmt.Sprint(l.Checkpoint(l.ctx, "b", 3, 3, "abc")) }},
	{"pause", func(l *fixture) string { return fmt.Sprint(l.SetPaused(l.ctx, "b", true)) }},
	{"left", func(l *fixture) string { left, ok, err := l.Left(l.ctx, "b"); return fmt.Sprint(left, ok, err) }},
	{"unpause", func(l *fixture) string { return fmt.Sprint(l.SetPaused(l.ctx, "b", false)) }},
	{"stop", func(l *fixture) string { return fmt.Sprint(l.SetStopped(l.ctx, "b", "me", true)) }},
	{"resume", func(l *fixture) string { return fmt.Sprint(l.SetStopped(l.ctx, "b", "me", false)) }},
	{"seal", func(l *fixture) string { p, err := l.Seal(l.ctx, "b"); return fmt.Sprint(p, err) }},
	{"give up", func(l *fixture) string { p, err := l.GiveUp(l.ctx, "b"); return fmt.Sprint(p, err) }},
	{"record the last", func(l *fixture) string {
		_, err := l.Record(l.ctx, "b", outcome(2, Cancelled), unknown, nil)
		return fmt.Sprint(err)
	}},
	{"take", func(l *fixture) string { return fmt.Sprint(l.Take(l.ctx, "b", "me")) }},
	{"trim", func(l *fixture) string {
		entries, err := l.Read(l.ctx, "b", Start, 10, 0)
		if err != nil || len(entries) == 0 {
			return fmt.Sprint(err)
		}
		return fmt.Sprint(l.Trim(l.ctx, "b", entries[len(entries)-1].ID, 3))
	}},
	{"release", func(l *fixture) string { return fmt.Sprint(l.Release(l.ctx, "b", "me")) }},
}

// A reply that is lost makes the caller, or go-redis itself, call again.
func TestCallingAgainChangesNothingMore(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, op := range operations {
			first := op.do(l)
			before := contents(t, l.c)
			second := op.do(l)
			after := contents(t, l.c)
			if first != second {
				t.Errorf("%s answers %q, and then %q", op.name, first, second)
			}
			for key := range before {
				if before[key] != after[key] {
					t.Errorf("%s again changed %s\nfrom %s\nto   %s", op.name, key, before[key], after[key])
				}
			}
			if len(after) != len(before) {
				t.Errorf("%s again: %d keys became %d", op.name, len(before), len(after))
			}
		}
	})
}

// The keys' names say which server of a cluster holds them; scripts must not
// make up names.
func TestKeysOfABatchAreInOneSlot(t *testing.T) {
	t.Parallel()
	l := newFixture(t, conntest.Mini(t))
	for _, op := range operations {
		op.do(l)
		for key := range contents(t, l.c) {
			if key != indexKey && !strings.HasPrefix(key, "weir:{b}:") {
				t.Errorf("%s made key %q", op.name, key)
			}
		}
	}
}
