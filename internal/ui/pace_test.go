package ui

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// When a batch will be done is told as well as it can be known, and by what.
func TestWhenABatchWillBeDone(t *testing.T) {
	now := time.Now()
	at := func(counts ...int64) *track {
		tr := new(track)
		for i, n := range counts {
			tr = tr.with(sample{at: now.Add(time.Duration(i-len(counts)) * time.Second), count: n}, trackMost)
		}
		return tr
	}
	open := &batch.Info{N: -1, Mark: batch.Mark{Next: 400}, OK: 200}
	sealed := &batch.Info{N: 500, Mark: batch.Mark{Next: 500}, OK: 200}
	for what, c := range map[string]struct {
		info *batch.Info
		e    *batch.Expected
		t    *track
		eta  float64 // -1: none
		how  string
	}{
		"sealed":                    {sealed, nil, at(0, 100, 200), 3, "by its number of tasks, at the rate"},
		"over":                      {&batch.Info{N: 200, OK: 200}, nil, at(0, 200), -1, ""},
		"open, of a known size":     {open, &batch.Expected{N: 1000, How: "by the size of its input"}, at(0, 100, 200), 8, "about 1000 tasks, by the size of its input, at the rate"},
		"more than was expected":    {open, &batch.Expected{N: 300, How: "by the size of its input"}, at(0, 100, 200), 2, "about 300"},
		"open, from a pipe":         {open, &batch.Expected{N: -1, How: "its input is a pipe"}, at(0, 200), -1, "nobody knows how many tasks there will be: its input is a pipe"},
		"open, and nobody feeds it": {open, nil, at(0, 200), -1, "no producer tells"},
		"nothing gets done":         {sealed, nil, at(200, 200, 200), -1, "no task got its outcome of late"},
		"unreadable":                {&batch.Info{N: -1, Unreadable: errors.New("made by a newer weir")}, nil, at(0, 0), -1, "made by a newer weir"},
		"the first time one looks":  {sealed, nil, at(200), -1, "nobody has looked long enough"},
	} {
		_, eta, how := pace(c.info, c.e, c.t)
		if (eta == nil) != (c.eta < 0) || eta != nil && *eta != c.eta || !strings.Contains(how, c.how) || (how == "") != (c.how == "") {
			t.Errorf("%s: %v, %q", what, eta, how)
		}
	}
}
