package batch

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// call is one call of the ledger for one task, by one of several clients at once.
type call struct {
	what string // "record", "begin", "begin alone", "crash", "rest", "read"
	seq  int64
	arg  string // who records, or the lease
}

// register is what the ledger has of one task: the first outcome stays, and until then
// each death of its worker counts once.
type register struct {
	outcome, lease string
	deaths         int
	running        bool
}

// do is what a call answers, and what it leaves, if nobody else is about.
func (r register) do(c call) (register, any) {
	suspect := r.deaths >= aloneFrom
	switch {
	case c.what == "read":
		return r, r.outcome
	case c.what == "rest":
		if r.running {
			r = register{outcome: r.outcome}
		}
		return r, nil
	case r.outcome != "":
		return r, map[string]any{"record": false, "begin": HasOutcome, "begin alone": HasOutcome, "crash": 0}[c.what]
	case c.what == "record":
		return register{outcome: c.arg}, true
	case c.what == "begin" && suspect:
		return r, RunAlone
	case c.what == "begin alone":
		r.running = suspect
		return r, Run
	case c.what == "crash":
		if r.lease != c.arg && (!suspect || r.running) {
			r.deaths, r.lease, r.running = r.deaths+1, c.arg, false
		}
		return r, r.deaths
	}
	return r, Run
}

var ofOneTask = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := make(map[int64][]porcupine.Operation)
		for _, op := range history {
			seq := op.Input.(call).seq
			by[seq] = append(by[seq], op)
		}
		var all [][]porcupine.Operation
		for _, ops := range by {
			all = append(all, ops)
		}
		return all
	},
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		next, answer := state.(register).do(in.(call))
		return answer == out, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %v", in, out) },
}

// make makes one call.
func (l *fixture) make(c call) (answer any, err error) {
	switch c.what {
	case "record":
		o := &Outcome{Seq: c.seq, State: OK, Attempts: 1, Worker: c.arg}
		return answerOf(l.Record(l.ctx, "b", o, unknown, nil))
	case "begin":
		a, _, err := l.Begin(l.ctx, "b", c.seq)
		return a, err
	case "begin alone":
		a, _, err := l.BeginAlone(l.ctx, "b", c.seq, 0)
		return a, err
	case "crash":
		return answerOf(l.CountCrash(l.ctx, "b", c.seq, c.arg))
	}
	return nil, l.Rest(l.ctx, "b", c.seq)
}

func answerOf[T any](v T, err error) (any, error) { return v, err }

// history is what several clients did at once, and what they were told.
type history struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
}

func (h *history) add(client int, c call, called time.Duration, answer any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{
		ClientId: client, Input: c, Output: answer, Call: int64(called), Return: int64(time.Since(h.began)),
	})
}

// Whatever several processes ask and tell the ledger at once, of one task it is as if
// they had come one after another: the first outcome stays, and is the one in the stream.
func TestCallsOfATaskAreLinearizable(t *testing.T) {
	t.Parallel()
	const clients, tasks, calls = 6, 60, 7
	server := conntest.Server(t)
	first := newFixture(t, server.Client())
	h := &history{began: time.Now()}
	begin := make([]sync.WaitGroup, tasks) // all clients come to a task at the same time
	for i := range begin {
		begin[i].Add(clients)
	}
	var all sync.WaitGroup
	for client := range clients {
		l := &fixture{NewLedger(server.Client()), t, t.Context(), nil}
		r := rand.New(rand.NewPCG(uint64(client), 1))
		all.Go(func() {
			for seq := range int64(tasks) {
				begin[seq].Done()
				begin[seq].Wait()
				for n := range calls {
					c := drawCall(r, seq, client, n)
					called := time.Since(h.began)
					answer, err := l.make(c)
					if err != nil {
						t.Errorf("%+v: %v", c, err)
					}
					h.add(client, c, called, answer)
				}
			}
		})
	}
	all.Wait()
	first.readAll(h, tasks)
	if t.Failed() {
		return
	}
	how, info := porcupine.CheckOperationsVerbose(ofOneTask, h.ops, 20*time.Second)
	if how != porcupine.Ok {
		t.Errorf("%s; no order explains all of these: %v", how, info.PartialLinearizationsOperations())
	}
}

// drawCall draws what a client does next: an outcome at last, if nobody was faster.
func drawCall(r *rand.Rand, seq int64, client, n int) call {
	whats := []string{"crash", "crash", "begin", "begin alone", "rest"}
	if n >= 3 {
		whats = append(whats, "record")
	}
	c := call{what: whats[r.IntN(len(whats))], seq: seq}
	switch c.what {
	case "record":
		c.arg = fmt.Sprintf("client %d, call %d", client, n)
	case "crash":
		c.arg = fmt.Sprint(r.IntN(4)) // some deaths are told by several
	}
	return c
}

// readAll notes what the stream has of each task.
func (l *fixture) readAll(h *history, tasks int64) {
	l.t.Helper()
	who := make(map[int64]string)
	entries, err := l.c.XRange(l.ctx, outKey("b"), "-", "+").Result()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range entries {
		line, _ := e.Values["o"].(string)
		o, err := ParseOutcome([]byte(line))
		if err != nil {
			l.t.Fatal(err)
		}
		if who[o.Seq] != "" {
			l.t.Errorf("task %d has two outcomes, of %s and %s", o.Seq, who[o.Seq], o.Worker)
		}
		who[o.Seq] = o.Worker
	}
	for seq := range tasks {
		h.add(0, call{what: "read", seq: seq}, time.Since(h.began), who[seq])
	}
}
