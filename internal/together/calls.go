package together

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

const (
	// Most is how many questions one call of a script is for: that long others wait.
	Most = 100

	// mostBytes is about how much one call of a script holds.
	mostBytes = 1 << 20
)

// Call is one call of a script, for several questions.
type Call struct {
	Keys   []string
	Args   []any
	Places []int // of the questions, among all that are asked
	Cmd    *redis.Cmd

	size int // of their arguments, about
}

// Calls are those of one script that are needed for some questions, by what a call is of.
type Calls[K comparable] struct {
	begin func(K) *Call
	open  map[K]*Call // those that take more
	all   []*Call
}

// NewCalls returns none; begin makes the keys of a call, and the arguments that are for all
// of its questions.
func NewCalls[K comparable](begin func(K) *Call) *Calls[K] {
	return &Calls[K]{begin: begin, open: make(map[K]*Call, 1)}
}

// Add adds a question's arguments, of about that size, to a call.
func (c *Calls[K]) Add(of K, place, size int, args ...any) {
	s := c.open[of]
	if s == nil || len(s.Places) == Most || s.size+size > mostBytes {
		s = c.begin(of)
		c.open[of] = s
		c.all = append(c.all, s)
	}
	s.Args = append(s.Args, args...)
	s.Places = append(s.Places, place)
	s.size += size
}

// Numbers reads the answer of a call that has a number for each question, into its place.
func (c *Call) Numbers(answers []Answer[int64]) {
	numbers, err := c.Cmd.Int64Slice()
	if err == nil && len(numbers) != len(c.Places) {
		err = fmt.Errorf("%d numbers in answer to %d questions", len(numbers), len(c.Places))
	}
	for i, place := range c.Places {
		if answers[place].Err = err; err == nil {
			answers[place].Value = numbers[i]
		}
	}
}

// Run makes the calls, and returns them; see Run.
func (c *Calls[K]) Run(ctx context.Context, rdb redis.UniversalClient, script *redis.Script) []*Call {
	Run(ctx, rdb, script, c.all)
	return c.all
}

// Run makes calls of a script in one round trip; in another one too where Redis does not
// know the script yet. Each has its own error.
func Run(ctx context.Context, rdb redis.UniversalClient, script *redis.Script, calls []*Call) {
	if len(calls) == 1 {
		calls[0].Cmd = script.Run(ctx, rdb, calls[0].Keys, calls[0].Args...)
		return
	}
	missing := calls
	for range 2 {
		pipe := rdb.Pipeline()
		for _, s := range missing {
			s.Cmd = script.EvalSha(ctx, pipe, s.Keys, s.Args...)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		missing = slices.DeleteFunc(slices.Clone(calls), func(s *Call) bool { return !redis.HasErrorPrefix(s.Cmd.Err(), "NOSCRIPT") })
		if len(missing) == 0 {
			return
		}
		if err := script.Load(ctx, rdb).Err(); err != nil {
			for _, s := range missing {
				s.Cmd.SetErr(err)
			}
			return
		}
	}
}
