package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/status"
)

// reread is how many batches that are over are looked at again each time: all that can
// still happen to them is that they go.
const reread = 20

// batchRow is a batch in the list.
type batchRow struct {
	info     *batch.Info
	expected *batch.Expected // of one whose number of tasks is not known
	track    *track
}

// rate is how many outcomes a second there are of late; of one that is over there are none.
func (r *batchRow) rate() float64 {
	if rate := r.track.rate(); !r.info.Complete() && !math.IsNaN(rate) {
		return rate
	}
	return 0
}

// batchRows reads the list: what is over once, what is not each time.
type batchRows struct {
	ledger *batch.Ledger
	known  map[string]*batchRow
	turn   int
}

func (r *batchRows) read(ctx context.Context) ([]*batchRow, error) {
	names, err := r.ledger.Names(ctx)
	if err != nil {
		return nil, err
	}
	var ask, over []string
	for _, name := range names {
		if row := r.known[name]; row != nil && row.info.Complete() {
			over = append(over, name)
			continue
		}
		ask = append(ask, name)
	}
	for i := range min(reread, len(over)) {
		ask = append(ask, over[(r.turn+i)%len(over)])
	}
	r.turn += reread
	infos, err := r.ledger.Infos(ctx, ask)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, info := range infos {
		if info != nil && info.N < 0 {
			open = append(open, info.Name)
		}
	}
	told, err := r.ledger.Expected(ctx, open)
	if err != nil {
		return nil, err
	}
	now, known := time.Now(), make(map[string]*batchRow, len(names))
	for _, name := range over {
		known[name] = r.known[name]
	}
	for i, info := range infos {
		delete(known, ask[i])
		if info == nil {
			continue // gone, or not there yet
		}
		row := &batchRow{info: info}
		if info.N < 0 {
			row.expected, told = told[0], told[1:]
		}
		var history *track
		if old := r.known[info.Name]; old != nil {
			history = old.track
		}
		row.track = history.with(sample{at: now, count: info.Outcomes()}, 15)
		known[info.Name] = row
	}
	r.known = known
	var rows []*batchRow
	for _, name := range names {
		if row := known[name]; row != nil {
			rows = append(rows, row)
		}
	}
	// Stable: the newest of each kind first.
	slices.SortStableFunc(rows, func(a, b *batchRow) int {
		return cmp.Compare(btoi(a.info.Complete()), btoi(b.info.Complete()))
	})
	return rows, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// watched is one batch that somebody looks at.
type watched struct {
	shared[*batchSeen]
	used time.Time
}

// batchSeen is a batch at one moment.
type batchSeen struct {
	*status.Status
	expected *batch.Expected
	track    *track
	left     time.Duration // until its deadline
	ends     bool          // it has one
}

const (
	// watchedMost is how many batches' histories are kept, the last looked at.
	watchedMost = 64
	// latencyBytes bounds what is read of outcomes a second, for how long they took.
	latencyBytes, latencyMost = 128 << 10, 200
)

// watch is a batch that somebody looks at.
func (b *board) watch(name string) *watched {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watched[name]
	if w == nil {
		if len(b.watched) >= watchedMost {
			delete(b.watched, oldest(b.watched, func(w *watched) time.Time { return w.used }))
		}
		w = &watched{}
		w.read = b.readBatch(name)
		b.watched[name] = w
	}
	w.used = time.Now()
	return w
}

func oldest[T any](all map[string]T, used func(T) time.Time) string {
	first, at := "", time.Time{}
	for name, v := range all {
		if t := used(v); first == "" || t.Before(at) {
			first, at = name, t
		}
	}
	return first
}

func (b *board) readBatch(name string) func(context.Context) (*batchSeen, error) {
	history, after, size := new(track), "", latencyBytes/5
	return func(ctx context.Context) (*batchSeen, error) {
		st, err := b.weir.Status(ctx, name)
		if err != nil {
			return nil, err
		}
		seen := &batchSeen{Status: st}
		if seen.left, seen.ends, err = b.ledger.Left(ctx, name); err != nil {
			return nil, err
		}
		if st.N < 0 {
			told, err := b.ledger.Expected(ctx, []string{name})
			if err != nil {
				return nil, err
			}
			seen.expected = told[0]
		}
		s := sample{at: time.Now(), count: st.Outcomes(), values: [5]float64{float64(st.Failed), math.NaN(), math.NaN(), float64(st.Active)}}
		took, err := b.latest(ctx, name, &after, &size)
		if err != nil {
			return nil, err
		}
		if len(took) > 0 {
			slices.Sort(took)
			s.values[1], s.values[2] = took[len(took)/2], took[len(took)*95/100]
		}
		if n := len(history.samples); !st.Complete() || n == 0 || history.samples[n-1].count != s.count {
			history = history.with(s, trackMost)
		}
		seen.track = history
		return seen, nil
	}
}

// latest tells how long the last attempts of the outcomes took that came after a place in
// the stream: of so many as are not too large, the latest. size is an outcome's.
func (b *board) latest(ctx context.Context, name string, after *string, size *int) (took []float64, err error) {
	from := cmp.Or(*after, batch.Start)
	count := min(latencyMost, max(2, latencyBytes/max(1, *size)))
	entries, err := b.ledger.Latest(ctx, name, from, int64(count))
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	first := *after == ""
	*after = entries[0].ID
	sum := 0
	for _, e := range entries {
		sum += len(e.Line)
		var o struct {
			State    batch.State `json:"state"`
			Attempts int         `json:"attempts"`
			MS       float64     `json:"ms"`
		}
		if e.End || first || json.Unmarshal(e.Line, &o) != nil || o.State == batch.Cancelled || o.Attempts == 0 {
			continue // at the first look nobody knows how old they are
		}
		took = append(took, o.MS)
	}
	*size = sum/len(entries) + 1
	return took, nil
}
