package tasks

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"
)

// Permit is the right to have one call in flight on a lane; see Acquire.
type Permit struct {
	started time.Time
	tell    func(Answer) // nil outside of a worker

	once  sync.Once
	mu    sync.Mutex
	quota *Quota
}

// Answer is what a call told of its service. The worker gets it from Permit.Done.
type Answer struct {
	Err     error // as a handler would return it
	Started time.Time
	Latency time.Duration
	Quota   *Quota // nil where the service does not say
}

// Acquire takes a permit of a lane for a call that a handler makes to a service which is
// not its task's own. That lane is governed: how many such calls are in flight, in all
// workers together, follows what the service can take, and its pauses hold for them too.
//
//	permit, err := tasks.Acquire(ctx, "ldap.example.com")
//	if err != nil {
//		return Result{}, err // the task comes back later, at no cost of an attempt
//	}
//	err = ask(ctx)
//	permit.Done(err)
//
// ctx is the handler's, or one made from it. Acquire waits for its turn, but never longer
// than a second, since the task holds its slot and its own permit meanwhile; then it
// returns a *ThrottledError for the handler to return. Calls from handlers go before the
// tasks that wait in the lane.
//
// For the lane that the task itself is in, nothing is taken: the task has its permit.
// What such calls tell, the lane hears when the task ends, in place of what the handler
// returns. Outside of a worker, as in the test of a handler, there is nothing to wait for.
//
// Errors: *ThrottledError; why ctx ended; a permanent one for what cannot be a lane.
func Acquire(ctx context.Context, lane string) (*Permit, error) {
	if err := ValidLane(lane); err != nil {
		return nil, Permanent(err)
	}
	acquire := meansOf(ctx).Acquire
	if acquire == nil {
		return &Permit{started: time.Now()}, nil
	}
	tell, err := acquire(ctx, lane)
	var later *ThrottledError
	if errors.As(err, &later) {
		later.told = true
	}
	if err != nil {
		return nil, err
	}
	return &Permit{started: time.Now(), tell: tell}, nil
}

// ReportQuota says what the service told of its quota. It counts with Done.
func (p *Permit) ReportQuota(q Quota) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quota = &q
}

// Done gives the permit back and tells the lane how the service answered, by the error
// that a handler would return for it: nil, Throttled, Overloaded. An error of the network,
// or of time, counts as overload; any other as an answer. The time since Acquire is
// the call's latency.
//
// Done may be called more than once; the first counts. A permit that was not given back
// goes back when the handler has returned, and then tells nothing. After five minutes the
// lane counts the call as over, and does not hear of it any more.
func (p *Permit) Done(err error) {
	p.once.Do(func() {
		if p.tell == nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tell(Answer{Err: callFailed(err), Started: p.started, Latency: time.Since(p.started), Quota: p.quota})
	})
}

// callFailed marks an error that says that nobody answered as overload.
func callFailed(err error) error {
	cause := err
	var outer *url.Error // it looks like one of the network, whatever it wraps
	if errors.As(err, &outer) {
		cause = outer.Err
	}
	_, throttled := AsThrottled(err)
	if err == nil || throttled || errors.Is(err, context.Canceled) || !ofConnection(cause) {
		return err
	}
	return Overloaded(err)
}

// AcquireFunc takes a permit of a lane; tell gives it back. An error that is, or wraps,
// a *ThrottledError says when there may be one.
type AcquireFunc func(ctx context.Context, lane string) (tell func(Answer), err error)
