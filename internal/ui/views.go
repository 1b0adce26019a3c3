package ui

import (
	"cmp"
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

	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/story"
	"github.com/weir-tasks/weir/internal/work"
)

const (
	perPage  = 50
	mostPage = 200
	// tasksShown is how many tasks of a worker are shown, those that run longest.
	tasksShown = 50
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
		"batches": viewOf(b.batchesView), "batch": viewOf(b.batchView), "lanes": viewOf(b.lanesView), "lane": b.laneView,
		"workers": viewOf(b.workersView), "redis": viewOf(b.redisView),
	}
}

// BatchLine is a batch in the list.
type BatchLine struct {
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
	ETAHow    string   `json:"eta_how"` // by what it is reckoned, or why it is not
	Failures  *summary `json:"failures,omitempty"`
}

// stateOf is how a batch stands, in a word.
func stateOf(i *batch.Info) string {
	switch {
	case i.Unreadable != nil:
		return "unreadable"
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

// waiting is how many tasks of a batch are in Redis without an outcome.
func waiting(i *batch.Info) int64 { return max(0, i.Enqueued()-i.Outcomes()) }

func lineOf(i *batch.Info, e *batch.Expected, t *track) BatchLine {
	l := BatchLine{
		Batch: i.Name, Type: i.Options.Type, State: stateOf(i), Over: i.Complete(), Created: i.Created.UnixMilli(),
		N: i.N, OK: i.OK, Failed: i.Failed, Cancelled: i.Cancelled, Retries: i.Retries,
		Read: max(i.Enqueued(), i.Outcomes()), Waiting: waiting(i),
	}
	l.Rate, l.ETA, l.ETAHow = pace(i, e, t)
	return l
}

// pace is how many tasks a second get their outcome, in how many seconds all have, and by
// what that is reckoned, or why it is not.
func pace(i *batch.Info, e *batch.Expected, t *track) (rate, eta *float64, how string) {
	if i.Complete() {
		return nil, nil, ""
	}
	if i.Unreadable != nil {
		return nil, nil, "not known: " + i.Unreadable.Error()
	}
	all, how := i.N, "by its number of tasks"
	switch {
	case i.N >= 0:
	case e == nil:
		return orNull(t.rate()), nil, "not known: no producer tells how many tasks there will be"
	case e.N < 0:
		return orNull(t.rate()), nil, "not known, since nobody knows how many tasks there will be: " + e.How
	default:
		all, how = max(e.N, i.Enqueued()), fmt.Sprintf("about %d tasks, %s", e.N, e.How)
	}
	r := t.rate()
	switch {
	case math.IsNaN(r):
		return nil, nil, "not known yet: nobody has looked long enough to tell the rate"
	case r == 0:
		return orNull(r), nil, "not known: no task got its outcome of late"
	}
	return orNull(r), orNull(math.Ceil(float64(all-i.Outcomes()) / r)), how + ", at the rate of the last seconds"
}

// part is a page of a list, and what there is beside it.
type part struct {
	Total    int            `json:"total"`
	Matching int            `json:"matching"`
	Page     int            `json:"page"`
	Pages    int            `json:"pages"`
	Counts   map[string]int `json:"counts"`
}

// Batches is a page of the list of batches.
type Batches struct {
	part
	Rows []BatchLine `json:"rows"`
}

// Batch is one batch.
type Batch struct {
	status.Line
	Shown     string   `json:"shown"`
	Over      bool     `json:"over"`
	Rate      *float64 `json:"rate_now"`
	ETA       *float64 `json:"eta_seconds"`
	ETAHow    string   `json:"eta_how"`
	Left      *float64 `json:"deadline_seconds"`
	TimeoutMS int64    `json:"timeout_ms"`
	Attempts  int      `json:"attempts"`
	BackoffMS int64    `json:"backoff_ms"`
	Failures  summary  `json:"failures"`
	Series    series   `json:"series"`
}

// Lanes is a page of the list of lanes.
type Lanes struct {
	part
	Rows []LaneLine `json:"rows"`
}

// Workers is a page of the list of workers.
type Workers struct {
	part
	Slots   int          `json:"slots"`
	Running int          `json:"running"`
	Stuck   int          `json:"stuck"`
	Rows    []WorkerLine `json:"rows"`
}

// Redis is Redis, or the masters of a cluster.
type Redis struct {
	Embedded bool        `json:"embedded"`
	Nodes    []conn.Node `json:"nodes"`
	Problems []Problem   `json:"problems"`
	Series   series      `json:"series"`
}

// Problem is something that is wrong with Redis.
type Problem struct {
	Fatal  bool   `json:"fatal"`
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

// viewOf makes a view of what has a type.
func viewOf[T any](of func(context.Context, query) (T, time.Time, error)) view {
	return func(ctx context.Context, q query) (any, time.Time, error) { return of(ctx, q) }
}

func (b *board) batchesView(ctx context.Context, q query) (*Batches, time.Time, error) {
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
		if !strings.Contains(row.info.Name, text) && !strings.Contains(strings.ToLower(row.info.Options.Type), text) {
			continue
		}
		if state == "" || state == s || state == "failed" && row.info.Failed > 0 {
			shown = append(shown, row)
		}
	}
	if by := batchOrders[q.Get("sort")]; by != nil {
		slices.SortStableFunc(shown, by)
	}
	page, pages, rows := cut(shown, q.number("page", 0), q.per())
	lines := make([]BatchLine, len(rows))
	for i, row := range rows {
		lines[i] = lineOf(row.info, row.expected, row.track)
		if row.info.Failed > 0 {
			s, err := b.index(row.info.Name).summary(ctx, listedMost)
			if err != nil {
				return nil, asOf, err
			}
			lines[i].Failures = &s
		}
	}
	return &Batches{part{len(all), len(shown), page, pages, counts}, lines}, asOf, nil
}

// batchOrders are those other than what is not over first: by name, else the most or the
// newest first.
var batchOrders = map[string]func(a, b *batchRow) int{
	"name":    func(a, b *batchRow) int { return cmp.Compare(a.info.Name, b.info.Name) },
	"created": func(a, b *batchRow) int { return b.info.Created.Compare(a.info.Created) },
	"failed":  func(a, b *batchRow) int { return cmp.Compare(b.info.Failed, a.info.Failed) },
	"waiting": func(a, b *batchRow) int { return cmp.Compare(waiting(b.info), waiting(a.info)) },
	"rate":    func(a, b *batchRow) int { return cmp.Compare(b.rate(), a.rate()) },
}

func (b *board) batchView(ctx context.Context, q query) (*Batch, time.Time, error) {
	name := q.Get("name")
	seen, asOf, err := b.watch(name).get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	failed, err := b.index(name).summary(ctx, indexedMost)
	if err != nil {
		return nil, asOf, err
	}
	rate, eta, how := pace(seen.Info, seen.expected, seen.track)
	o := seen.Options
	v := &Batch{seen.Line(), stateOf(seen.Info), seen.Complete(), rate, eta, how, nil, o.TimeoutMS, o.Retries + 1, o.BackoffMS, failed,
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

// LaneLine is a lane with its history.
type LaneLine struct {
	lane.Line
	Latency *float64   `json:"latency_ms"`
	Done    *float64   `json:"ended_per_second"`
	Limits  []*float64 `json:"limits"` // of late, for a small plot
	Flights []*float64 `json:"flights"`
}

// sparks is how many samples a small plot has.
const sparks = 60

func (b *board) lanesView(ctx context.Context, q query) (*Lanes, time.Time, error) {
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
	if by := laneOrders[q.Get("sort")]; by != nil {
		slices.SortStableFunc(shown, by)
	}
	page, pages, rows := cut(shown, q.number("page", 0), q.per())
	lines := make([]LaneLine, len(rows))
	for i, l := range rows {
		lines[i] = seen.line(l)
	}
	return &Lanes{part{len(seen.rows), len(shown), page, pages, counts}, lines}, asOf, nil
}

// laneOrders are those other than by name, the most first.
var laneOrders = map[string]func(a, b lane.Line) int{
	"in_flight": func(a, b lane.Line) int { return int(b.Active - a.Active) },
	"pending":   func(a, b lane.Line) int { return int(b.Pending - a.Pending) },
	"oldest":    func(a, b lane.Line) int { return int(b.Oldest - a.Oldest) },
}

func (s *laneRows) line(l lane.Line) LaneLine {
	t := s.tracks[l.Lane]
	line := LaneLine{Line: l, Done: orNull(t.rate()), Limits: t.recent(0, sparks), Flights: t.recent(1, sparks)}
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
				LaneLine
				Series series `json:"series"`
			}{seen.line(l), seen.tracks[name].series("limit", "in_flight", "pending", "latency")}, asOf, nil
		}
	}
	return nil, asOf, fmt.Errorf("lane %q: %w", name, lane.ErrUnknown)
}

// RunningLine is a task that runs.
type RunningLine struct {
	ID    string   `json:"id"`
	Batch string   `json:"batch,omitempty"`
	Seq   int64    `json:"seq"`
	Type  string   `json:"type"`
	Lane  string   `json:"lane"`
	For   float64  `json:"seconds"`
	Limit *float64 `json:"timeout_seconds"`
	Stuck bool     `json:"stuck"`
}

// WorkerLine is a worker.
type WorkerLine struct {
	Worker   string        `json:"worker"`
	Ours     bool          `json:"weir"`
	Slots    int           `json:"slots"`
	Running  int           `json:"running"`
	Stuck    int           `json:"stuck"`
	Version  string        `json:"version"`
	Stopping bool          `json:"stopping"`
	Started  int64         `json:"started_ms"`
	Ago      float64       `json:"heard_seconds_ago"`
	Skew     float64       `json:"clock_ahead_seconds"`
	SkewBad  bool          `json:"clock_wrong"`
	Tasks    []RunningLine `json:"tasks"`
}

func (b *board) workersView(ctx context.Context, q query) (*Workers, time.Time, error) {
	all, asOf, err := b.workers.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	text := strings.ToLower(q.Get("q"))
	slots, running, stuck := 0, 0, 0
	var lines []WorkerLine
	for _, w := range all {
		l := w.line()
		slots, running, stuck = slots+l.Slots, running+l.Running, stuck+l.Stuck
		if strings.Contains(strings.ToLower(l.Worker), text) {
			lines = append(lines, l)
		}
	}
	page, pages, rows := cut(lines, q.number("page", 0), q.per())
	if rows == nil {
		rows = []WorkerLine{}
	}
	return &Workers{part{len(all), len(lines), page, pages, nil}, slots, running, stuck, rows}, asOf, nil
}

func (w *workerRow) line() WorkerLine {
	l := WorkerLine{Worker: w.Name(), Ours: w.Ours, Slots: w.Slots, Running: len(w.Seen.Tasks), Version: w.Version, Stopping: w.Stopping,
		Started: w.Started.UnixMilli(), Ago: round3(w.Ago), Skew: round3(w.Skew), SkewBad: w.Skew.Abs() > work.ClockWarn, Tasks: []RunningLine{}}
	for _, t := range w.Seen.Tasks {
		r := RunningLine{ID: t.ID, Type: t.Type, Lane: t.Lane, For: round3(t.For), Seq: -1}
		if name, seq, ok := batch.ParseTaskID(t.ID); ok {
			r.Batch, r.Seq = name, seq
			if limit := w.limits[name]; limit > 0 {
				r.Limit, r.Stuck = orNull(limit.Seconds()), t.For > limit+attempt.GraceToReturn
			}
		}
		l.Stuck += btoi(r.Stuck)
		if len(l.Tasks) < tasksShown {
			l.Tasks = append(l.Tasks, r)
		}
	}
	l.Stuck = max(l.Stuck, w.Stuck) // those whose task has its verdict already, too
	return l
}

func round3(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func (b *board) redisView(ctx context.Context, _ query) (*Redis, time.Time, error) {
	seen, asOf, err := b.redis.get(ctx)
	if err != nil {
		return nil, asOf, err
	}
	problems := []Problem{}
	for _, p := range seen.problems {
		problems = append(problems, Problem{p.Fatal, p.What, p.Remedy})
	}
	return &Redis{b.weir.Embedded(), seen.nodes, problems, seen.track.series("used", "ops", "clients")}, asOf, nil
}

// isMissing says that what was asked for is not there.
func isMissing(err error) bool {
	return errors.Is(err, batch.ErrNotFound) || errors.Is(err, lane.ErrUnknown) || errors.Is(err, story.ErrNoTask)
}
