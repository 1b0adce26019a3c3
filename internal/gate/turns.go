package gate

import (
	"container/heap"
	"slices"

	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/together"
)

// Lanes take turns by weight, and so do the lists of one lane by the share of their
// priority. Both by stride scheduling, which counts tasks and no time: who takes a task
// moves back in the order of turns by its stride, the shorter the more it weighs, and
// the foremost is next. Who has nothing to run loses its turns to the others, but no
// place: it comes back where the order stands by then, or where it was if that is
// further back. The queues of a lane that has several take turns within each priority, so
// that neither weight nor priority depends on how many there are.

// stride is that of weight 1. All shares of priorities divide it, and most weights.
const stride = 720720

// work is what the gate knows of a lane that has, or may have, tasks. Gate.mu guards it.
type work struct {
	lane  string
	lists lists
	asked int  // takes under way
	shut  bool // it had no permit

	pass  int64 // its place in the order of turns
	since int64 // among those of the same place
	index int   // in the order; -1 while it is in none
}

// list is one of a lane's: that of a queue and a priority.
type list struct {
	queue    string
	priority queue.Priority
}

// lists are those of one lane.
type lists struct {
	may  [len(queue.Priorities)]ring // the queues that have tasks, as far as is known
	pass [len(queue.Priorities)]int64
	now  int64 // where their order stands
}

func (l *lists) any() bool {
	for p := range l.may {
		if l.may[p].any() {
			return true
		}
	}
	return false
}

// queues are those of the lists that may have tasks; some more than once.
func (l *lists) queues() (all []string) {
	for p := range l.may {
		all = append(all, l.may[p].queues...)
	}
	return all
}

// next is the list whose turn it is. There must be any.
func (l *lists) next() list {
	next := queue.Priority(-1)
	for _, p := range [...]queue.Priority{queue.High, queue.Normal, queue.Low} {
		if l.may[p].any() && (next < 0 || l.pass[p] < l.pass[next]) {
			next = p
		}
	}
	l.now = l.pass[next]
	l.pass[next] += stride / next.Share()
	return list{l.may[next].next(), next}
}

// inARow is how many tasks are asked of one queue of a lane before the next one: as many as
// are asked for at once, so that calls are few, of those that end together too.
const inARow = pipelined

// ring is the queues of a lane that take turns.
type ring struct {
	queues []string
	in     map[string]bool // which they are
	asked  int             // tasks, of the first of them, in a row
}

func (r *ring) any() bool { return len(r.queues) > 0 }

// add puts a queue behind the others, unless it is among them.
func (r *ring) add(name string) {
	if r.in[name] {
		return
	}
	if r.in == nil {
		r.in = make(map[string]bool, 1)
	}
	r.in[name] = true
	r.queues = append(r.queues, name)
}

func (r *ring) drop(name string) {
	if !r.in[name] {
		return
	}
	delete(r.in, name)
	at := slices.Index(r.queues, name)
	r.queues = slices.Delete(r.queues, at, at+1)
	r.asked = 0
}

func (r *ring) next() string {
	if r.asked == inARow && len(r.queues) > 1 {
		r.queues = append(r.queues[1:], r.queues[0])
		r.asked = 0
	}
	r.asked = min(r.asked+1, inARow)
	return r.queues[0]
}

// order is the lanes that may have tasks and permits, the next one first: a heap.
type order []*work

func (o order) Len() int { return len(o) }
func (o order) Less(i, j int) bool {
	if o[i].pass != o[j].pass {
		return o[i].pass < o[j].pass
	}
	return o[i].since < o[j].since
}
func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].index, o[j].index = i, j
}
func (o *order) Push(x any) {
	w := x.(*work)
	w.index = len(*o)
	*o = append(*o, w)
}
func (o *order) Pop() any {
	last := len(*o) - 1
	w := (*o)[last]
	w.index = -1
	*o = (*o)[:last]
	return w
}

// found notes that a queue's list has tasks, by somebody's word. The caller has g.mu.
func (g *Gate) found(of string, p queue.Priority) {
	name := queue.Lane(of)
	w := g.work[name]
	if w == nil {
		w = &work{lane: name, index: -1}
		g.work[name] = w
	}
	if w.asked == 0 && !w.lists.any() {
		w.pass = max(w.pass, g.now)
	}
	if l := &w.lists; w.asked == 0 && !l.may[p].any() {
		l.pass[p] = max(l.pass[p], l.now)
	}
	w.lists.may[p].add(of)
	g.settle(w)
}

// settle puts a lane where it belongs in the order of turns. The caller has g.mu.
func (g *Gate) settle(w *work) {
	switch in := !w.shut && w.lists.any(); {
	case in && w.index < 0:
		g.turned++
		w.since = g.turned
		heap.Push(&g.order, w)
	case in:
		heap.Fix(&g.order, w.index)
	case w.index >= 0:
		heap.Remove(&g.order, w.index)
	}
}

// strideOf is by how much a lane moves back with each task. The caller has g.mu.
func (g *Gate) strideOf(name string) int64 {
	if weight := g.weights[name]; weight > 1 {
		return int64(stride / weight)
	}
	return stride
}

// next takes a permit for the next task of the lane whose turn it is, nil if none has
// one. The caller has g.mu.
func (g *Gate) next() *work {
	for len(g.order) > 0 && g.lanes.Room() > 0 {
		w := g.order[0]
		if g.lanes.Take(w.lane, 1) == 0 {
			w.shut = true
			g.settle(w)
			continue
		}
		g.now = w.pass
		w.pass += g.strideOf(w.lane)
		g.turned++
		w.since = g.turned
		g.settle(w)
		return w
	}
	return nil
}

// turnOf is what take asks of one lane.
type turnOf struct {
	of    *work
	lists []list // of each task asked for
	calls map[list]*together.Call
}

// turns decides how many tasks to ask of which lanes and lists, and takes the permits. The
// lists asked lose their mark: whoever adds work after this sets it again.
func (g *Gate) turns() []*turnOf {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped() || g.holds > 0 || g.silent() {
		return nil
	}
	for _, name := range g.lanes.Loose() {
		if w := g.work[name]; w != nil {
			w.shut = false
			g.settle(w)
		}
	}
	var turns []*turnOf
	at := make(map[*work]*turnOf)
	for range pipelined {
		w := g.next()
		if w == nil {
			break
		}
		t := at[w]
		if t == nil {
			t = &turnOf{of: w}
			at[w] = t
			turns = append(turns, t)
		}
		t.lists = append(t.lists, w.lists.next())
	}
	for _, t := range turns {
		t.of.asked++
		for _, l := range t.lists {
			t.of.lists.may[l.priority].drop(l.queue)
		}
		g.settle(t.of)
	}
	return turns
}

// answered notes which of the lists asked have more; what they have not given costs the
// lane no turns. The caller has g.mu.
func (g *Gate) answered(t *turnOf, gave []bool, more map[list]bool) {
	w := t.of
	w.asked--
	for i, l := range t.lists {
		if !gave[i] {
			w.lists.pass[l.priority] -= stride / l.priority.Share()
			w.pass -= g.strideOf(w.lane)
		}
		if more[l] {
			w.lists.may[l.priority].add(l.queue)
		}
	}
	g.settle(w)
}
