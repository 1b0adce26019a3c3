package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/story"
)

const (
	perPage  = 50
	mostPage = 200
	// tasksShown is how many tasks of a worker are shown, those that run longest.
	tasksShown = 50
	// returnIn is how long a handler may take to notice that its time is over, before it
	// counts as stuck.
	returnIn = 500 * time.Millisecond
)

// badRequestError says what is wrong with a request.
type badRequestError string

func (e badRequestError) Error() string { return string(e) }

// query is what a page asks for.
type query struct{ url.Values }

// number is a parameter of at least 0.
func (q query) number(name string, otherwise int) int {
	if n, err := strconv.Atoi(q.Get(name)); err == nil && n >= 0 {
		return n
	}
	return otherwise
}

func (q query) per() int { return min(mostPage, max(1, q.number("per", perPage))) }

// view is what a page shows, as what is made into JSON, and when it was so.
type view = func(context.Context, query) (v any, asOf time.Time, err error)

// liveViews are those that a page is told of once a second: what they read is shared by all
// pages.
func (b *board) liveViews() map[string]view {
	return map[string]view{
		"batches": b.batchesView, "batch": b.batchView, "lanes": b.lanesView, "lane": b.laneView,
		"workers": b.workersView, "redis": b.redisView,
	}
}

// batchLine is a batch in the list.
type batchLine struct {
	Batch     string   `json:"batch"`
	Type      string   `json:"type"`
	State     string   `json:"state"` // as shown: running, paused, stopped, done, failed, cancelled, expired
	Over      bool     `json:"over"`
	Created   int64    `json:"created_ms"`
	N         int64    `json:"n"` // -1: not known yet
	Read      int64    `json:"read"`
	OK        int64    `json:"ok"`
	Failed    int64    `json:"failed"`
	Cancelled int64    `json:"cancelled"`
	Waiting   int64    `json:"waiting"` // in Redis without an outcome
	Retries   int64    `json:"retries"`
	Rate      *float64 `json:"rate"`
	ETA       *float64 `json:"eta_seconds"`
	Failures  *summary `json:"failures,omitempty"`
}

// stateOf is how a batch stands, in a word.
func stateOf(i *batch.Info) string {
	switch {
	case i.Expired:
		return "expired"
	case i.Phase == batch.GivenUp:
		return "cancelled"
	case i.Complete():
		return "done"
	case i.Paused:
		return "paused"
	case i.Stopped:
		return "stopped"
	}
	return "running"
}

func lineOf(i *batch.Info, t *track) batchLine {
	l := batchLine{
		Batch: i.Name, Type: i.Options.Type, State: stateOf(i), Over: i.Complete(), Created: i.Created.UnixMilli(),
		N: i.N, OK: i.OK, Failed: i.Failed, Cancelled: i.Cancelled, Retries: i.Retries,
		Read: max(i.Enqueued(), i.Outcomes()),
	}
	l.Waiting = l.Read - i.Outcomes()
	l.Rate, l.ETA = pace(i, t)
	return l
}

// pace is how many tasks a second get their outcome, and in how many seconds all have.
func pace(i *batch.Info, t *track) (rate, eta *float64) {
	if i.Complete() {
		return nil, nil
	}
	r := t.rate()
	if left := i.N - i.Outcomes(); i.N >= 0 && r > 0 {
		eta = orNull(math.Ceil(float64(left) / r))
	}
	return orNull(r), eta
}

func (b *board) batchesView(ctx context.Context, q query) (any, time.Time, error) {
	all, asOf, err := b.batches.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	text, state := strings.ToLower(q.Get("q")), q.Get("state")
	counts := make(map[string]int)
	var shown []*batchRow
	for _, row := range all {
		s := stateOf(row.info)
		counts[s]++
		if row.info.Failed > 0 {
			counts["failed"]++
		}
		if !strings.Contains(row.info.Name, text) && !strings.Contains(row.info.Options.Type, text) {
			continue
		}
		if state == "" || state == s || state == "failed" && row.info.Failed > 0 {
			shown = append(shown, row)
		}
	}
	page, pages, rows := cut(shown, q.number("page", 0), q.per())
	lines := make([]batchLine, len(rows))
	for i, row := range rows {
		lines[i] = lineOf(row.info, row.track)
		if row.info.Failed > 0 {
			s, err := b.index(row.info.Name).summary(ctx, listedMost)
			if err != nil {
				return nil, asOf, err
			}
			lines[i].Failures = &s
		}
	}
	return map[string]any{"total": len(all), "matching": len(shown), "page": page, "pages": pages, "counts": counts, "rows": lines}, asOf, nil
}

func (b *board) batchView(ctx context.Context, q query) (any, time.Time, error) {
	name := q.Get("name")
	seen, asOf, err := b.watch(name).get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	failed, err := b.index(name).summary(ctx, indexedMost)
	if err != nil {
		return nil, asOf, err
	}
	rate, eta := pace(seen.Info, seen.track)
	o := seen.Options
	v := struct {
		status.Line
		Shown     string   `json:"shown"`
		Over      bool     `json:"over"`
		Rate      *float64 `json:"rate_now"`
		ETA       *float64 `json:"eta_seconds"`
		Left      *float64 `json:"deadline_seconds"`
		TimeoutMS int64    `json:"timeout_ms"`
		Attempts  int      `json:"attempts"`
		BackoffMS int64    `json:"backoff_ms"`
		Failures  summary  `json:"failures"`
		Series    series   `json:"series"`
	}{seen.Line(), stateOf(seen.Info), seen.Complete(), rate, eta, nil, o.TimeoutMS, o.Retries + 1, o.BackoffMS, failed,
		seen.track.series("failed", "p50", "p95", "active")}
	if seen.ends && !seen.Complete() {
		v.Left = orNull(seen.left.Seconds())
	}
	return v, asOf, nil
}

func (b *board) failuresView(ctx context.Context, q query) (any, error) {
	name := q.Get("name")
	if _, err := b.ledger.Info(ctx, name); err != nil {
		return nil, err
	}
	return b.index(name).page(ctx, batch.Class(q.Get("class")), q.Get("q"), q.number("page", 0), q.per())
}

func (b *board) taskView(ctx context.Context, q query) (any, error) {
	seq, err := strconv.ParseInt(q.Get("seq"), 10, 64)
	if err != nil {
		return nil, badRequestError("a task has a number, from 0")
	}
	s, err := story.Read(ctx, b.weir.Redis(), b.ledger, q.Get("name"), seq)
	if err != nil {
		return nil, err
	}
	if len(s.Payload) > showMax {
		s.Payload = asText(show("", s.Payload))
	}
	if s.Outcome != nil && len(s.Outcome.Result) > showMax {
		s.Outcome.Result = asText(show("", s.Outcome.Result))
	}
	return s, nil
}

// asText is a text as JSON.
func asText(s string) json.RawMessage {
	text, _ := json.Marshal(s)
	return text
}

// laneLine is a lane with its history.
type laneLine struct {
	lane.Line
	Latency *float64   `json:"latency_ms"`
	Done    *float64   `json:"ended_per_second"`
	Limits  []*float64 `json:"limits"` // of late, for a small plot
	Flights []*float64 `json:"flights"`
}

// sparks is how many samples a small plot has.
const sparks = 60

func (b *board) lanesView(ctx context.Context, q query) (any, time.Time, error) {
	seen, asOf, err := b.lanes.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	text, state := strings.ToLower(q.Get("q")), q.Get("state")
	counts := make(map[string]int)
	var shown []lane.Line
	for _, l := range seen.rows {
		busy := l.Active+l.Pending > 0
		counts[l.State]++
		counts["busy"] += btoi(busy)
		counts["waiting"] += btoi(l.Waits != "")
		if strings.Contains(strings.ToLower(l.Lane), text) &&
			(state == "" || state == l.State || state == "busy" && busy || state == "waiting" && l.Waits != "") {
			shown = append(shown, l)
		}
	}
	if by := sorts[q.Get("sort")]; by != nil {
		slices.SortStableFunc(shown, by)
	}
	page, pages, rows := cut(shown, q.number("page", 0), q.per())
	lines := make([]laneLine, len(rows))
	for i, l := range rows {
		lines[i] = seen.line(l)
	}
	return map[string]any{"total": len(seen.rows), "matching": len(shown), "page": page, "pages": pages, "counts": counts, "rows": lines}, asOf, nil
}

// sorts are the orders of lanes other than by name, the most first.
var sorts = map[string]func(a, b lane.Line) int{
	"in_flight": func(a, b lane.Line) int { return int(b.Active - a.Active) },
	"pending":   func(a, b lane.Line) int { return int(b.Pending - a.Pending) },
	"oldest":    func(a, b lane.Line) int { return int(b.Oldest - a.Oldest) },
}

func (s *laneRows) line(l lane.Line) laneLine {
	t := s.tracks[l.Lane]
	line := laneLine{Line: l, Done: orNull(t.rate()), Limits: t.recent(0, sparks), Flights: t.recent(1, sparks)}
	if l.BaseMS > 0 {
		line.Latency = orNull(l.BaseMS * l.Ratio)
	}
	return line
}

func (b *board) laneView(ctx context.Context, q query) (any, time.Time, error) {
	seen, asOf, err := b.lanes.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	name := q.Get("name")
	for _, l := range seen.rows {
		if l.Lane == name {
			return struct {
				laneLine
				Series series `json:"series"`
			}{seen.line(l), seen.tracks[name].series("limit", "in_flight", "pending", "latency")}, asOf, nil
		}
	}
	return nil, asOf, fmt.Errorf("lane %q: %w", name, lane.ErrUnknown)
}

// runningLine is a task that runs.
type runningLine struct {
	ID    string   `json:"id"`
	Batch string   `json:"batch,omitempty"`
	Seq   int64    `json:"seq"`
	Type  string   `json:"type"`
	Lane  string   `json:"lane"`
	For   float64  `json:"seconds"`
	Limit *float64 `json:"timeout_seconds"`
	Stuck bool     `json:"stuck"`
}

// workerLine is a worker.
type workerLine struct {
	Worker   string        `json:"worker"`
	Ours     bool          `json:"weir"`
	Slots    int           `json:"slots"`
	Running  int           `json:"running"`
	Stuck    int           `json:"stuck"`
	Stopping bool          `json:"stopping"`
	Started  int64         `json:"started_ms"`
	Ago      float64       `json:"heard_seconds_ago"`
	Skew     float64       `json:"clock_ahead_seconds"`
	SkewBad  bool          `json:"clock_wrong"`
	Tasks    []runningLine `json:"tasks"`
}

// skewBad is from which offset on a clock is wrong: from there on its worker warns.
const skewBad = 2 * time.Second

func (b *board) workersView(ctx context.Context, q query) (any, time.Time, error) {
	all, asOf, err := b.workers.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	text := strings.ToLower(q.Get("q"))
	slots, running, stuck := 0, 0, 0
	var lines []workerLine
	for _, w := range all {
		l := w.line()
		slots, running, stuck = slots+l.Slots, running+l.Running, stuck+l.Stuck
		if strings.Contains(strings.ToLower(l.Worker), text) {
			lines = append(lines, l)
		}
	}
	page, pages, rows := cut(lines, q.number("page", 0), q.per())
	if rows == nil {
		rows = []workerLine{}
	}
	return map[string]any{"total": len(all), "matching": len(lines), "page": page, "pages": pages,
		"slots": slots, "running": running, "stuck": stuck, "rows": rows}, asOf, nil
}

func (w *workerRow) line() workerLine {
	l := workerLine{Worker: w.Name(), Ours: w.Ours, Slots: w.Slots, Running: len(w.Seen.Tasks), Stopping: w.Stopping,
		Started: w.Started.UnixMilli(), Ago: round3(w.Ago), Skew: round3(w.Skew), SkewBad: w.Skew.Abs() > skewBad, Tasks: []runningLine{}}
	for _, t := range w.Seen.Tasks {
		r := runningLine{ID: t.ID, Type: t.Type, Lane: t.Lane, For: round3(t.For), Seq: -1}
		if name, seq, ok := batch.ParseTaskID(t.ID); ok {
			r.Batch, r.Seq = name, seq
			if limit := w.limits[name]; limit > 0 {
				r.Limit, r.Stuck = orNull(limit.Seconds()), t.For > limit+returnIn
			}
		}
		l.Stuck += btoi(r.Stuck)
		if len(l.Tasks) < tasksShown {
			l.Tasks = append(l.Tasks, r)
		}
	}
	return l
}

func round3(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func (b *board) redisView(ctx context.Context, _ query) (any, time.Time, error) {
	seen, asOf, err := b.redis.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	problems := []map[string]any{}
	for _, p := range seen.problems {
		problems = append(problems, map[string]any{"fatal": p.Fatal, "what": p.What, "remedy": p.Remedy})
	}
	s := seen.track.series("used", "ops", "clients")
	return struct {
		Embedded bool             `json:"embedded"`
		Nodes    []conn.Node      `json:"nodes"`
		Problems []map[string]any `json:"problems"`
		Series   series           `json:"series"`
	}{b.weir.Embedded(), seen.nodes, problems, s}, asOf, nil
}

// isMissing says that what was asked for is not there.
func isMissing(err error) bool {
	return errors.Is(err, batch.ErrNotFound) || errors.Is(err, lane.ErrUnknown) || errors.Is(err, story.ErrNoTask)
}
