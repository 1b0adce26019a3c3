package attempt

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/tasks"
)

// services are the calls that one attempt's handler makes by tasks.Acquire: those of its
// own lane, for which the task's permit serves, and those elsewhere, with permits of their
// own. A handler that would wait for another permit of its own lane, as all others of
// that lane may, could wait for ever.
type services struct {
	gate *gate.Gate
	own  string          // the task's lane
	ctx  context.Context // the attempt's

	mu   sync.Mutex
	over bool // the handler has returned
	out  map[*lane.Call]struct{}

	told   *governor.Result // what the calls of its own lane were told, all together
	away   int              // calls elsewhere that wait or are made
	since  time.Time        // when the first of them began
	passed time.Duration    // with such calls, before
}

func newServices(ctx context.Context, g *gate.Gate, own string) *services {
	return &services{gate: g, own: own, ctx: ctx}
}

// errOver is what a goroutine gets that its handler left behind.
var errOver = errors.New("the handler has returned")

// acquire is a tasks.AcquireFunc.
func (s *services) acquire(ctx context.Context, name string) (func(tasks.Answer), error) {
	if name == s.own {
		return s.tellOwn, nil
	}
	if !s.leave() {
		return nil, errOver
	}
	call, err := s.gate.Acquire(ctx, name)
	if err != nil {
		s.comeBack()
		var busy *lane.BusyError
		if errors.As(err, &busy) {
			return nil, &tasks.ThrottledError{After: busy.After, Err: err}
		}
		return nil, err
	}
	if !s.keep(call) {
		return nil, errOver
	}
	return func(a tasks.Answer) { s.tell(call, a) }, nil
}

// leave and comeBack take the time that the handler spends elsewhere.
func (s *services) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if s.away == 0 {
		s.since = time.Now()
	}
	s.away++
	return true
}

func (s *services) comeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away--
	if s.away == 0 {
		s.passed += time.Since(s.since)
	}
}

// keep remembers a permit until it is given back. It gives it back itself where the
// handler has returned meanwhile.
func (s *services) keep(call *lane.Call) bool {
	s.mu.Lock()
	over := s.over
	if !over {
		if s.out == nil {
			s.out = make(map[*lane.Call]struct{})
		}
		s.out[call] = struct{}{}
	}
	s.mu.Unlock()
	if over {
		call.Done(governor.Result{Outcome: governor.Cancelled})
		s.comeBack()
	}
	return !over
}

// tell gives a permit back, unless end has done so.
func (s *services) tell(call *lane.Call, a tasks.Answer) {
	s.mu.Lock()
	_, out := s.out[call]
	delete(s.out, call)
	s.mu.Unlock()
	if out {
		call.Done(resultOf(s.ctx, a))
		s.comeBack()
	}
}

// tellOwn keeps what a call of the task's own lane was told until the attempt ends: the
// worst answer, and the time of all.
func (s *services) tellOwn(a tasks.Answer) {
	r := resultOf(s.ctx, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = &r
		return
	}
	t := s.told
	t.Latency += r.Latency
	t.RetryAfter = max(t.RetryAfter, r.RetryAfter)
	if r.Reset > 0 {
		t.Remaining, t.Reset = r.Remaining, r.Reset
	}
	if severity[r.Outcome] > severity[t.Outcome] {
		t.Outcome, t.Started = r.Outcome, r.Started
	}
}

var severity = map[governor.Outcome]int{
	governor.Cancelled: 0, governor.OK: 1, governor.AppError: 2, governor.Timeout: 3, governor.Overload: 4, governor.Throttled: 5,
}

// end gives back what the handler has not, and returns what its calls told of its own
// lane, if it made any, and how much of its time went elsewhere.
func (s *services) end() (told governor.Result, any bool, elsewhere time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for call := range s.out {
		call.Done(governor.Result{Outcome: governor.Cancelled})
	}
	clear(s.out)
	if s.away > 0 {
		s.passed += time.Since(s.since)
	}
	if s.told != nil {
		return *s.told, true, s.passed
	}
	return told, false, s.passed
}

// resultOf is what a call's answer tells its lane.
func resultOf(ctx context.Context, a tasks.Answer) governor.Result {
	r := governor.Result{Started: a.Started, Latency: a.Latency}
	if a.Quota != nil {
		r.Remaining, r.Reset = a.Quota.Remaining, a.Quota.Reset
	}
	r.Outcome, r.RetryAfter = judge(ctx, a.Err)
	return r
}

// judge is what an error of a handler, or of one of its calls, says of the service, and the
// Retry-After. Once the attempt's context has ended it says nothing, but for a timeout.
func judge(ctx context.Context, err error) (governor.Outcome, time.Duration) {
	var timeout *timeoutError
	throttled, isThrottled := tasks.AsThrottled(err)
	switch {
	case err == nil:
		return governor.OK, 0
	case errors.As(context.Cause(ctx), &timeout):
		return governor.Timeout, 0
	case ctx.Err() != nil, isThrottled && throttled.Told():
		return governor.Cancelled, 0
	case isThrottled:
		return governor.Throttled, throttled.After
	case tasks.IsOverloaded(err) && tookTooLong(err):
		return governor.Timeout, 0
	case tasks.IsOverloaded(err):
		return governor.Overload, 0
	case errors.Is(err, context.Canceled), tasks.IsRejected(err):
		return governor.Cancelled, 0
	}
	return governor.AppError, 0
}

func tookTooLong(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}
