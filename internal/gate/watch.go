package gate

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// listen marks the queues that others announce, and hears of those that an operator has
// set something for. go-redis subscribes again after the connection broke; what was
// missed, lookAround finds.
func (g *Gate) listen(ctx context.Context) {
	sub := g.rdb.Subscribe(ctx, queue.WakeChannel, governor.Channel)
	defer sub.Close()
	messages := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			if m.Channel == queue.WakeChannel {
				if queues, p, err := queue.ParseNotice(m.Payload); err == nil {
					g.mark(p, queues...)
				}
			} else {
				_ = g.lookAtKinds(ctx) // the next look repeats it
			}
		}
	}
}

// lookAround finds queues, and work that nobody announced, every so often.
func (g *Gate) lookAround(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := g.lookOnce(ctx); err != nil && ctx.Err() == nil {
			g.opts.Log.Debug("looking for work", "err", err)
		}
		g.releaseUnclaimed(time.Now())
		timer.Reset(look * g.manyQueues())
	}
}

// manyQueues is by how much rarer all queues are looked at because there are many.
func (g *Gate) manyQueues() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return 1 + time.Duration(len(g.known)/2000)
}

func (g *Gate) lookOnce(ctx context.Context) error {
	names, err := g.readList(ctx)
	if err == nil {
		err = g.lookAtKinds(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			g.opts.Trouble(err, look)
		}
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !g.serves(name) })
	slices.Sort(names)
	pipe := g.rdb.Pipeline()
	lens := make([][len(queue.Priorities)]*redis.IntCmd, len(names))
	for i, name := range names {
		for j, list := range queue.Lists(name) {
			lens[i][j] = pipe.LLen(ctx, list)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var busy [len(queue.Priorities)][]string
	waiting, broken := make(map[string]int), make(map[string]bool) // by lane
	for i, name := range names {
		of := queue.Lane(name)
		waiting[of] += 0
		for j, p := range queue.Priorities {
			n, listErr := lens[i][j].Result()
			err = cmp.Or(err, listErr)
			broken[of] = broken[of] || listErr != nil
			if n > 0 {
				waiting[of] += int(n)
				busy[p] = append(busy[p], name)
			}
		}
	}
	for of, n := range waiting {
		if n > 0 || !broken[of] {
			g.lanes.Backlog(of, n)
		}
	}
	idle := true
	for _, queues := range busy {
		idle = idle && len(queues) == 0
	}
	if g.setKnown(names, idle) {
		g.opts.Trouble(nil, 0)
	}
	for _, p := range queue.Priorities {
		if len(busy[p]) > 0 {
			g.mark(p, busy[p]...)
		}
	}
	return err
}

// lookAtKinds learns which lanes are governed, and tells of those found here; and what
// lanes weigh.
func (g *Gate) lookAtKinds(ctx context.Context) error {
	select {
	case g.looking <- struct{}{}:
		defer func() { <-g.looking }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	g.mu.Lock()
	news := g.news
	g.news = nil
	g.mu.Unlock()
	err := lane.Announce(ctx, g.rdb, news...)
	if err != nil {
		g.mu.Lock()
		g.news = append(g.news, news...)
		g.mu.Unlock()
		return err
	}
	names, err := lane.Announced(ctx, g.rdb)
	if err != nil {
		return err
	}
	weights, err := lane.Weights(ctx, g.rdb)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.weights = weights
	for _, name := range g.lanes.Called() {
		if !slices.Contains(names, name) && !slices.Contains(g.news, name) {
			g.news = append(g.news, name)
		}
	}
	names = append(names, g.news...) // found meanwhile
	g.lanes.Governed(slices.DeleteFunc(names, func(name string) bool { return !g.serves(name) }))
	return nil
}

// setKnown adopts the queues that are in use, keeping those that have marks, and forgets the
// places in the order of turns that matter no more: all, where nothing waits. It reports
// whether Redis gives what it is asked for: one that lets look may still refuse that,
// as long as there is work to ask for.
func (g *Gate) setKnown(names []string, idle bool) (gives bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if idle {
		g.failing = 0
	}
	lanes := queue.Lanes(names)
	keep := lanes
	for name, w := range g.work {
		_, known := slices.BinarySearch(lanes, name)
		switch used := w.asked > 0 || w.lists.any(); {
		case used:
			names = append(names, w.lists.queues()...)
			keep = append(keep, name)
		case !known || idle || w.pass <= g.now:
			delete(g.work, name)
		}
	}
	slices.Sort(names)
	g.known = slices.Compact(names)
	g.lanes.Keep(keep)
	return g.failing == 0
}

// Queues are those of the lanes that the gate serves at present.
func (g *Gate) Queues() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.known)
}
