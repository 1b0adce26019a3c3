package telemetry

import (
	"context"
	"crypto/rand"
	_ "embed"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/work"
)

var (
	//go:embed lua/speak.lua
	speakSrc    string
	speakScript = redis.NewScript(speakSrc)
)

const (
	speakerKey = "weir:{telemetry}:speaker"
	// speaks is for how long a process that was asked is the speaker.
	speaks = 20 * time.Second
	// viewKept is how long a view is good for, viewIn how long reading one may take.
	viewKept = 5 * time.Second
	viewIn   = 4 * time.Second
	// leisure bounds what looking costs Redis: after a read that took so long there is
	// none for so many times as long, up to longest.
	leisure = 40
	longest = time.Minute
)

// tries is after how many reads in a row that had nothing at all the speaker ceases to be it.
const tries = 3

// The parts of a view: one that cannot be read hides no other.
const (
	partWorkers = "workers"
	partLanes   = "lanes"
	partBatches = "batches"
	partMissing = "missing"
	partMemory  = "memory"
)

var parts = []string{partWorkers, partLanes, partBatches, partMissing, partMemory}

// view is what Redis knows of all.
type view struct {
	errs map[string]error // the parts that are not known, and why

	workers []*work.Seen
	signal  *lane.Signal
	lanes   []lane.Demand // those of signal that have a label
	rest    int64         // the others' backlog
	books   tallies
	missing int64   // as last counted, with an error too
	used    float64 // memory, in bytes
	limit   float64 // 0: none
	took    time.Duration
}

// Signal says how many workers there should be, given those there are.
type Signal func(context.Context, lane.Cluster) (*lane.Signal, error)

// cluster tells of the whole cluster, where this process is the speaker.
type cluster struct {
	id       string
	rdb      redis.UniversalClient
	log      *slog.Logger
	signal   Signal
	books    *books
	failures *prometheus.CounterVec

	mu     sync.Mutex // while it is read, too: once is enough
	view   *view      // nil where the last read had nothing
	labels labels
	free   bool      // this process may not write to Redis: it only reads, and always speaks
	next   time.Time // when it is read again
	failed int       // reads in a row that had nothing
	wrong  map[string]error
}

// Cluster adds what Redis knows of all: lanes, batches, workers, memory. When the Server is
// closed another process may speak.
func (m *Metrics) Cluster(rdb redis.UniversalClient, log *slog.Logger, signal Signal) {
	c := newCluster(rdb, log, signal)
	m.registry.MustRegister(c)
	m.closing = append(m.closing, c.cease)
}

func newCluster(rdb redis.UniversalClient, log *slog.Logger, signal Signal) *cluster {
	c := &cluster{id: rand.Text(), rdb: rdb, log: log, signal: signal, labels: newLabels(), books: newBooks(rdb, batch.NewLedger(rdb)),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: clusterErrors, Help: "Times that this process could not read a part of what Redis knows of all.",
		}, []string{"part"})}
	for _, part := range parts {
		c.failures.WithLabelValues(part)
	}
	return c
}

// speaker says whether this process is the one to tell. The caller has c.mu.
func (c *cluster) speaker(ctx context.Context, d time.Duration) bool {
	if c.free {
		return true
	}
	is, err := speakScript.Run(ctx, c.rdb, []string{speakerKey}, c.id, d.Milliseconds()).Bool()
	c.free = err != nil && readOnly.MatchString(err.Error())
	return err == nil && is || c.free
}

// readOnly is how Redis refuses a user who may only read, itself and in a script.
var readOnly = regexp.MustCompile(`NOPERM|ACL failure|can't run this command`)

func (c *cluster) cease() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hush()
}

// hush lets another process speak. The caller has c.mu.
func (c *cluster) hush() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.speaker(ctx, 0) // else it expires
}

// look is the view, or nil where Redis does not answer or another process speaks.
func (c *cluster) look() *view {
	ctx, cancel := context.WithTimeout(context.Background(), viewIn)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed >= tries && time.Now().Before(c.next) {
		return nil // another may have more luck
	}
	if !c.speaker(ctx, speaks) {
		return nil
	}
	if began := time.Now(); !began.Before(c.next) {
		v := c.read(ctx)
		c.note(v.errs)
		if len(v.errs) < len(parts) {
			v.took, c.view, c.failed = time.Since(began), v, 0
		} else {
			c.view, c.failed = nil, c.failed+1
		}
		c.next = time.Now().Add(rest(time.Since(began), c.failed))
		if c.failed >= tries {
			c.hush()
		}
	}
	return c.view
}

// rest is how long nothing is read after a read that took so long, and was one of so many in
// a row that had nothing: a Redis that is away is soon back, one that is slow needs rest.
func rest(took time.Duration, failed int) time.Duration {
	if failed > 0 {
		return min(viewKept<<min(failed, 8), longest)
	}
	return min(max(viewKept, leisure*took), longest)
}

// note counts what could not be read, and logs it when it begins.
func (c *cluster) note(errs map[string]error) {
	var begun []string
	for _, part := range parts {
		if errs[part] == nil {
			continue
		}
		c.failures.WithLabelValues(part).Inc()
		if c.wrong[part] == nil {
			begun = append(begun, part)
		}
	}
	if c.wrong = errs; len(begun) > 0 {
		c.log.Warn("metrics of the whole cluster are not complete", "parts", strings.Join(begun, ","), logs.Err, errs[begun[0]])
	}
}

// read reads all parts, each of which may fail.
func (c *cluster) read(ctx context.Context) *view {
	v := &view{errs: make(map[string]error)}
	var mu sync.Mutex
	failed := func(err error, which ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, part := range which {
			if err != nil {
				v.errs[part] = err
			}
		}
		return err != nil
	}
	var all sync.WaitGroup
	all.Go(func() {
		var err error
		if v.workers, err = work.Living(ctx, c.rdb); failed(err, partWorkers, partLanes) {
			return
		}
		if v.signal, err = c.signal(ctx, work.Sum(v.workers)); !failed(err, partLanes) {
			v.lanes, v.rest = c.labelled(v.signal)
		}
	})
	all.Go(func() {
		var err error
		if v.books, err = c.books.read(ctx); failed(err, partBatches, partMissing) {
			return
		}
		v.missing, err = c.books.count(ctx)
		failed(err, partMissing)
	})
	all.Go(func() {
		var err error
		v.used, v.limit, err = conn.Memory(ctx, c.rdb)
		failed(err, partMemory)
	})
	all.Wait()
	return v
}

// labelled are the lanes of a signal that have a label, and the backlog of all others.
func (c *cluster) labelled(s *lane.Signal) (named []lane.Demand, others int64) {
	for i := range s.Lanes {
		c.labels.recent[s.Lanes[i].Lane] += s.Lanes[i].Backlog + 1
	}
	c.labels.rank(time.Now())
	others = s.Backlog
	for i := range s.Lanes {
		if c.labels.label(s.Lanes[i].Lane) != other {
			named = append(named, s.Lanes[i])
			others -= s.Lanes[i].Backlog
		}
	}
	return named, others
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	readDesc    = desc(clusterRead, "How long it took to read what Redis knows of all.")
	workersDesc = desc(workers, "Workers that live, by whether they take tasks.", "state")
	slotsDesc   = desc(workersSlots, "What the running ones run at once, all together.")
	batchesDesc = desc(batches, "Batches in Redis, by how they stand.", "state")
	tasksDesc   = desc(batchesTasks, "Tasks of batches that are not over, by their outcome, or waiting for one.", "state")
	missingDesc = desc(batchesMissing, "Tasks of running batches that have neither an outcome nor a place in Redis, as last counted.")
	usedDesc    = desc(memoryUsed, "Memory that Redis uses; of a cluster, the fullest master.")
	maxDesc     = desc(memoryMax, "Its maxmemory; 0 is no limit.")
	wantedDesc  = desc(workersWanted, "Workers that what waits now can use.")
	backlogDesc = desc(allBacklog, "Tasks that could run now, in all lanes.")
	oldestDesc  = desc(allOldest, "How long the oldest of them has waited.")
	drainDesc   = desc(allDrain, "In which time they are worked off as things are, in the lane that takes longest.")
	blockedDesc = desc(laneBlocked, "1 for a lane with work whose tasks wait for something else than a slot, by what that is.", "lane", "state")

	laneDescs = []struct {
		desc *prometheus.Desc
		of   func(d *lane.Demand) *float64
	}{
		{desc(laneWanted, "Workers that the lane can use.", "lane"), func(d *lane.Demand) *float64 { return &d.Workers }},
		{desc(laneBacklog, "Tasks that could run now.", "lane"), func(d *lane.Demand) *float64 { n := float64(d.Backlog); return &n }},
		{desc(laneOldest, "How long the oldest of them has waited.", "lane"), func(d *lane.Demand) *float64 { return &d.Oldest }},
		{desc(laneDrain, "In which time they are worked off as things are.", "lane"), func(d *lane.Demand) *float64 { return d.Drain }},
	}
)

// Describe is a prometheus.Collector's.
func (c *cluster) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readDesc, workersDesc, slotsDesc, batchesDesc, tasksDesc, missingDesc,
		usedDesc, maxDesc, wantedDesc, backlogDesc, oldestDesc, drainDesc, blockedDesc} {
		out <- d
	}
	for _, d := range laneDescs {
		out <- d.desc
	}
	c.failures.Describe(out)
}

// Collect is a prometheus.Collector's.
func (c *cluster) Collect(out chan<- prometheus.Metric) {
	v := c.look()
	c.failures.Collect(out)
	if v == nil {
		return
	}
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	tell(readDesc, v.took.Seconds())
	if v.errs[partWorkers] == nil {
		tellWorkers(tell, v.workers)
	}
	if v.errs[partLanes] == nil {
		tellLanes(tell, v)
	}
	if v.errs[partBatches] == nil {
		for state, n := range v.books.batches {
			tell(batchesDesc, float64(n), state)
		}
		for state, n := range v.books.tasks {
			tell(tasksDesc, float64(n), state)
		}
		tell(missingDesc, float64(v.missing))
	}
	if v.errs[partMemory] == nil {
		tell(usedDesc, v.used)
		tell(maxDesc, v.limit)
	}
}

func tellWorkers(tell func(*prometheus.Desc, float64, ...string), all []*work.Seen) {
	running, stopping, slots := 0, 0, 0
	for _, w := range all {
		switch {
		case !w.Ours:
		case w.Stopping:
			stopping++
		default:
			running++
			slots += w.Slots
		}
	}
	tell(workersDesc, float64(running), "running")
	tell(workersDesc, float64(stopping), "stopping")
	tell(slotsDesc, float64(slots))
}

// tellLanes tells what waits in all lanes, and in those that have a label. What the others
// have is in the sums, and in lane="other".
func tellLanes(tell func(*prometheus.Desc, float64, ...string), v *view) {
	s := v.signal
	tell(wantedDesc, float64(s.Wanted))
	tell(backlogDesc, float64(s.Backlog))
	tell(oldestDesc, s.Oldest)
	if s.Drain != nil {
		tell(drainDesc, *s.Drain)
	}
	for i := range v.lanes {
		of := &v.lanes[i]
		for _, d := range laneDescs {
			if v := d.of(of); v != nil {
				tell(d.desc, *v, of.Lane)
			}
		}
		if of.State != "open" {
			tell(blockedDesc, 1, of.Lane, of.State)
		}
	}
	if v.rest > 0 {
		tell(laneDescs[1].desc, float64(v.rest), other)
	}
}
