package feed

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

const (
	// maxParked and maxParkedBytes bound what waits here for its lane.
	maxParked      = 1 << 16
	maxParkedBytes = 32 << 20

	// soon and late are how long a lane is left alone that had enough waiting: it is
	// asked the less often the longer nothing of it is done.
	soon = 5 * time.Millisecond
	late = 160 * time.Millisecond
)

// laneState is what is known of one lane, in a batch of many.
//
// Its share of the window begins small, and doubles when the lane is found to have run
// through it: a lane that is dead from the start never holds much of the window, however
// many such lanes there are, and one that is fast has half of it within a few looks.
type laneState struct {
	name    string
	share   int64  // the most that may wait in Redis
	credit  int64  // how many may be enqueued before it is asked again
	waiting int64  // how many waited when it was asked, and were enqueued since
	parked  []task // in order of seq
	look    time.Time
	pause   time.Duration
}

// parking is where tasks wait whose lane has enough waiting in Redis. Others overtake them;
// in a lane the order is kept.
type parking struct {
	mu    sync.Mutex // of parked tasks, for payloads; all else is the feeder's alone
	going []task     // released last
	lanes map[string]*laneState
	full  []*laneState // those with parked tasks, in turn
	tasks int64
	bytes int
}

func newParking() *parking { return &parking{lanes: make(map[string]*laneState)} }

func (p *parking) lane(name string) *laneState {
	l := p.lanes[name]
	if l == nil {
		if len(p.lanes) >= maxKnown {
			p.forget()
		}
		l = &laneState{name: name}
		p.lanes[name] = l
	}
	return l
}

// forget keeps memory bounded: a lane without parked tasks may be asked anew.
func (p *parking) forget() {
	for name, l := range p.lanes {
		if len(l.parked) == 0 {
			delete(p.lanes, name)
		}
	}
}

// open says that more may be parked.
func (p *parking) open() bool { return p.tasks < maxParked && p.bytes < maxParkedBytes }

// payloads are those of the tasks that are parked, or have been until just now, by seq.
func (p *parking) payloads() map[int64][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[int64][]byte)
	for _, t := range p.going {
		all[t.seq] = t.Payload
	}
	for _, l := range p.full {
		for _, t := range l.parked {
			all[t.seq] = t.Payload
		}
	}
	return all
}

// park puts a task behind those of its lane.
func (p *parking) park(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lane(t.lane)
	if len(l.parked) == 0 {
		p.full = append(p.full, l)
	}
	t.Raw = nil // it is in the hash
	l.parked = append(l.parked, t)
	p.tasks++
	p.bytes += len(t.Payload)
}

// lowest is the lowest parked seq, or next if there is none.
func (p *parking) lowest(next int64) int64 {
	for _, l := range p.full {
		next = min(next, l.parked[0].seq)
	}
	return next
}

// release returns up to n parked tasks whose lanes may have them. Lanes take turns.
func (p *parking) release(n int) (tasks []task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.going = slices.Clone(tasks) }()
	var served, rest []*laneState
	for i, l := range p.full {
		if len(tasks) == n {
			rest = append(rest, p.full[i:]...)
			break
		}
		k := int(min(l.credit, int64(n-len(tasks)), int64(len(l.parked))))
		tasks = append(tasks, l.parked[:k]...)
		for i := range l.parked[:k] {
			p.bytes -= len(l.parked[i].Payload)
			l.parked[i] = task{}
		}
		p.tasks -= int64(k)
		l.spend(int64(k))
		switch l.parked = l.parked[k:]; {
		case len(l.parked) == 0:
			l.parked = nil
		case k > 0:
			served = append(served, l)
		default:
			rest = append(rest, l)
		}
	}
	p.full = append(rest, served...)
	return tasks
}

// first is the share that a lane begins with: all that are full together have less than
// the window, up to some hundreds.
func (p *parking) first(window int64) int64 {
	return max(1, min(window/64, window/(4*int64(len(p.full)+1))))
}

func (l *laneState) spend(n int64) {
	l.credit -= n
	l.waiting += n
}

// due says that a lane is to be asked before more is enqueued.
func (l *laneState) due(now time.Time) bool { return l.credit <= 0 && !now.Before(l.look) }

// saw takes note of how many tasks wait in a lane.
func (l *laneState) saw(waiting, first, window int64, now time.Time) {
	progress := waiting < l.waiting
	switch {
	case l.share > 0 && waiting <= l.share/4:
		l.share *= 2
	case !progress:
		l.share /= 2
	}
	l.share = max(first, min(l.share, window/2))
	l.credit = max(0, l.share-waiting)
	l.waiting = waiting
	if progress || l.credit > 0 {
		l.pause = soon
	} else {
		l.pause = min(max(2*l.pause, soon), late)
	}
	l.look = now.Add(l.pause)
}

// ask looks how many tasks wait in lanes.
func (f *Feeder) ask(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := f.lookAtShards(ctx); err != nil {
		return err
	}
	var queues []string
	for _, name := range names {
		queues = append(queues, f.shards.of(name)...)
	}
	var waiting []int64
	err := f.insist(ctx, func() (err error) {
		waiting, err = queue.Waiting(ctx, f.rdb, queues, f.opts.Priority)
		return err
	})
	if err != nil {
		return err
	}
	all := make(map[string]int64, len(names)) // by lane
	for i, of := range queues {
		all[queue.Lane(of)] += waiting[i]
	}
	now, window, first := time.Now(), f.window, f.parking.first(f.window)
	for _, name := range names {
		f.parking.lane(name).saw(all[name], first, window, now)
	}
	return nil
}

// unpark returns up to n parked tasks that may be enqueued now.
func (f *Feeder) unpark(ctx context.Context, n int) ([]task, error) {
	if f.parking.tasks == 0 {
		return nil, nil
	}
	var due []string
	now := time.Now()
	for _, l := range f.parking.full {
		if len(due) < chunk && l.due(now) {
			due = append(due, l.name)
		}
	}
	if err := f.ask(ctx, due); err != nil {
		return nil, err
	}
	tasks := f.parking.release(n)
	if len(tasks) == 0 || tasks[0].seq >= f.found.Upto+chunk {
		return tasks, nil
	}
	return f.without(ctx, tasks) // an earlier life may have enqueued them
}

// admit parks those of newly read tasks whose lane has enough waiting, and returns the
// others.
func (f *Feeder) admit(ctx context.Context, tasks []task) ([]task, error) {
	if f.opts.Lane != "" {
		return tasks, nil // there is none to overtake it
	}
	var due []string
	now := time.Now()
	for _, name := range lanesOf(tasks) {
		if l := f.parking.lane(name); len(l.parked) == 0 && l.due(now) {
			due = append(due, name)
		}
	}
	if err := f.ask(ctx, due); err != nil {
		return nil, err
	}
	var going []task
	for _, t := range tasks {
		if t.lane == "" { // it gets its outcome at once
			going = append(going, t)
			continue
		}
		l := f.parking.lane(t.lane)
		if len(l.parked) > 0 || l.credit <= 0 {
			f.parking.park(t)
			continue
		}
		l.spend(1)
		going = append(going, t)
	}
	return going, nil
}

// reached is how far the feeder is, with what it is about to enqueue.
func (f *Feeder) reached() batch.Mark {
	next := f.parking.lowest(f.next)
	return batch.Mark{Next: next, Ahead: f.next - f.parking.tasks - next, Upto: f.next}
}

// idle waits until a parked task may go on.
func (f *Feeder) idle(ctx context.Context) error {
	wait, now := poll, time.Now()
	for _, l := range f.parking.full {
		wait = min(wait, l.look.Sub(now))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.settled:
	case <-time.After(max(wait, time.Millisecond)):
	}
	return nil
}
