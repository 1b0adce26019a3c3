package lane

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

const (
	// tick is how often the lanes are looked at: a pause that ends, a report that is due.
	tick = 20 * time.Millisecond

	// lingers is how long a lane that needs no permits, and has reported so, is remembered.
	lingers = time.Second

	// atOnce is how many reports may be under way.
	atOnce = 64

	// told is the shortest time between two lines of the log about one lane's limit.
	told = 5 * time.Second

	// maxSaid bounds what is remembered of such lines.
	maxSaid = 10_000
)

// Govern reports on the governed lanes until ctx ends. The permits it has then come back
// to the others when their lease ends, 2 s later. rdb should send calls that come at once
// in one pipeline.
func (s *Set) Govern(ctx context.Context, rdb redis.UniversalClient, log *slog.Logger) {
	g := &governing{set: s, rdb: rdb, log: log, free: make(chan struct{}, atOnce), told: make(map[string]time.Time), said: make(map[string]said)}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		g.look(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-s.stir:
		}
	}
	g.reports.Wait()
}

// governing is one run of Govern.
type governing struct {
	set     *Set
	rdb     redis.UniversalClient
	log     *slog.Logger
	free    chan struct{} // room for reports
	reports sync.WaitGroup

	mu   sync.Mutex
	told map[string]time.Time // when it was told that a lane's record cannot be used
	said map[string]said
}

// look sends the reports that are due, and frees what time alone has freed.
func (g *governing) look(ctx context.Context) {
	for name, due := range g.set.due() {
		select {
		case g.free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		g.reports.Go(func() {
			defer func() { <-g.free }()
			g.report(ctx, name, due)
		})
	}
}

// due returns the lanes to report on, each with what it wants in flight.
func (s *Set) due() map[string]*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	due := make(map[string]*lane)
	for name, l := range s.lanes {
		if l.local == nil {
			continue
		}
		if (l.refused || len(l.waiters) > 0) && !l.ready.IsZero() && !l.ready.After(now) {
			s.loosen(name, l)
		}
		l.ready = l.local.Ready(now)
		if l.syncing || l.local.NextSync().After(now) {
			continue
		}
		switch {
		case s.uses(l):
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = now
		case now.Sub(l.idle) > lingers:
			s.giveUp(l) // its lease ends by itself
			s.loosen(name, l)
			continue
		case l.wanted == 0: // and has said so
			if l.refused {
				s.loosen(name, l)
			}
			continue
		}
		l.syncing = true
		due[name] = l
	}
	return due
}

// uses says that a lane needs its permits, or asks for some. With no slot left for what
// waits in it, it needs none: they are others' meanwhile.
func (s *Set) uses(l *lane) bool {
	return l.inFlight > 0 || len(l.waiters) > 0 || l.backlog > 0 && (l.refused || s.used < s.slots)
}

func (g *governing) report(ctx context.Context, name string, l *lane) {
	s := g.set
	s.mu.Lock()
	local, wants := l.local, s.wants(l)
	l.syncing = local != nil // else it is governed no more
	s.mu.Unlock()
	if local == nil {
		return
	}
	r := local.Report(s.now(), wants)
	began := time.Now()
	grant, err := governor.Sync(ctx, g.rdb, name, r)
	s.watch.Sync(name, grant, time.Since(began), err)
	if err != nil {
		local.Lost(s.now(), r)
		g.failed(ctx, name, err)
		wants = max(wants, 1) // what was lost is to be told, too
	} else {
		local.Apply(s.now(), grant)
		g.tell(name, grant)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.syncing, l.wanted = false, wants
	switch {
	case err == nil:
		s.answered(l)
		s.loosen(name, l)
	case governor.OfLane(err):
		s.answered(l) // other lanes need not wait for it
	}
}

// wants is how many permits a lane asks for: what it needs now, or needed since it last asked,
// so that tasks that come one by one need not wait for a report each.
func (s *Set) wants(l *lane) int {
	wants := l.inFlight + len(l.waiters)
	if s.uses(l) {
		wants += l.backlog
	}
	wants = max(wants, l.peak)
	l.peak = 0
	return wants
}

// failed logs that a lane's report was not answered; what does not mend itself as an error.
func (g *governing) failed(ctx context.Context, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.set.now(); governor.OfLane(err) && now.Sub(g.told[name]) >= time.Minute {
		g.told[name] = now
		g.log.Error("a lane's record in Redis cannot be used; none of its tasks is taken", "lane", name, "err", err,
			"hint", governor.Remedy(name, err))
		return
	}
	g.log.Debug("report on a lane", "lane", name, "err", err)
}

// said is the last line of the log about a lane's limit.
type said struct {
	at    time.Time
	state governor.State
}

// tell logs what this worker's report has changed for all: the state whenever it is another,
// else what matters, and not more often than told. To probe is part of an outage.
func (g *governing) tell(name string, grant governor.Grant) {
	if grant.Why == "" {
		return
	}
	state := grant.State
	if state == governor.Probing {
		state = governor.Outage
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now, last := g.set.now(), g.said[name]
	small := state == governor.Open && grant.From > 0 && 5*max(grant.Limit-grant.From, grant.From-grant.Limit) < grant.From
	if state == last.state && (small || now.Sub(last.at) < told) {
		return
	}
	if len(g.said) >= maxSaid {
		clear(g.said)
	}
	g.said[name] = said{now, state}
	if state == governor.Open {
		g.log.Info(fmt.Sprintf("lane %s limit %d -> %d: %s", name, grant.From, grant.Limit, grant.Why))
	} else {
		g.log.Info(fmt.Sprintf("lane %s %v: %s", name, grant.State, strings.TrimPrefix(grant.Why, "outage: ")))
	}
}

// governedKey is the set of lanes that are governed because of the tasks in them.
const governedKey = "weir:lanes:governed"

// Announce tells all workers that lanes are governed, before any task is in them.
func Announce(ctx context.Context, rdb redis.UniversalClient, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	members := make([]any, len(names))
	for i, name := range names {
		members[i] = name
	}
	if err := rdb.SAdd(ctx, governedKey, members...).Err(); err != nil {
		return fmt.Errorf("announce governed lanes: %w", err)
	}
	return nil
}

// Announced are the lanes that are governed because of their tasks, and those that an
// operator has configured.
func Announced(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	names, err := rdb.SMembers(ctx, governedKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list governed lanes: %w", err)
	}
	configured, err := governor.Configured(ctx, rdb)
	if err != nil {
		return nil, err
	}
	return append(names, configured...), nil
}
