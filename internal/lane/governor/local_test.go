package governor

import (
	"strings"
	"testing"
	"time"
)

// at is a time of a test.
func at(s float64) time.Time { return origin.Add(seconds(s)) }

// open is a grant as the script gives it.
func open(permits int) Grant {
	return Grant{Permits: permits, Epoch: 1, Tokens: -1, Limit: permits, Base: 100 * time.Millisecond,
		Interval: 250 * time.Millisecond, Lease: 2 * time.Second}
}

// granted is a Local with 20 slots that has synced at 0 s.
func granted(g Grant) *Local {
	l := NewLocal("w", 20)
	l.jitter = func() float64 { return 0.5 }
	l.Report(at(0), 20)
	l.Apply(at(0), g)
	return l
}

func take(t *testing.T, l *Local, s float64, want, have int) {
	t.Helper()
	if got := l.Take(at(s), want); got != have {
		t.Errorf("at %.2f s Take(%d) = %d, want %d (%s)", s, want, got, have, l.Waits(at(s)))
	}
}

func TestNothingIsTakenBeforeTheFirstGrant(t *testing.T) {
	l := NewLocal("w", 20)
	take(t, l, 0, 5, 0)
	if due := l.NextSync(); due.After(at(0)) {
		t.Errorf("the first report is due at %v", due)
	}
	if why := l.Waits(at(0)); why != "Redis has not answered yet" {
		t.Error(why)
	}
}

// A lane may be dead when it is found: what was sent before it was governed tells so.
func TestRequestsFromBeforeTheFirstGrantCount(t *testing.T) {
	l := NewLocal("w", 20)
	l.Hold(4)
	l.Report(at(0.1), 20)
	l.Apply(at(0.2), open(4))
	for range 4 {
		l.Done(at(5), Result{Outcome: Timeout, Started: at(0), Latency: 5 * time.Second})
	}
	if r := l.Report(at(5), 20); r.Overloads != 4 || r.Epoch != 1 {
		t.Errorf("%+v", r)
	}
}

func TestPermitsAreTheGrants(t *testing.T) {
	l := granted(open(5))
	take(t, l, 0.1, 3, 3)
	take(t, l, 0.1, 3, 2)
	take(t, l, 0.1, 1, 0)
	l.Return(1)
	take(t, l, 0.1, 2, 1)
	l.Done(at(0.2), Result{Outcome: OK, Started: at(0.1), Latency: 100 * time.Millisecond})
	r := l.Report(at(0.25), 100)
	if r.InFlight != 4 || r.Wants != 20 || r.Answered != 1 || r.Samples.N != 1 || r.Epoch != 1 {
		t.Errorf("%+v", r)
	}
	l.Apply(at(0.25), open(2)) // fewer than are in flight
	take(t, l, 0.3, 1, 0)
	if why := l.Waits(at(0.3)); !strings.Contains(why, "limit 2") {
		t.Error(why)
	}
}

func TestMorePermitsReturnedThanTakenIsABug(t *testing.T) {
	for name, f := range map[string]func(*Local){
		"Return": func(l *Local) { l.Return(1) },
		"Done":   func(l *Local) { l.Done(at(1), Result{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f(granted(open(1)))
		}()
	}
}

func TestPermitThatMetOverloadRests(t *testing.T) {
	l := granted(open(2))
	take(t, l, 0.3, 2, 2)
	if !l.Done(at(0.4), Result{Outcome: Overload, Started: at(0.3)}) || l.NextSync().After(at(0.4)) {
		t.Error("overload is not told at once")
	}
	if l.Done(at(0.41), Result{Outcome: Timeout, Started: at(0.3)}) {
		t.Error("a second one 10 ms later is urgent too")
	}
	take(t, l, 0.5, 2, 0)
	if got := l.Ready(at(0.5)); got != at(0.9) {
		t.Errorf("ready at %v", got.Sub(origin))
	}
	if why := l.Waits(at(0.5)); why != "2 permits rest after overload" {
		t.Error(why)
	}
	if r := l.Report(at(0.55), 2); r.Overloads != 2 || r.Answered != 0 || r.InFlight != 2 {
		t.Errorf("%+v", r) // no other worker is to have them meanwhile
	}
	l.Apply(at(0.55), open(2))
	take(t, l, 0.905, 2, 1)
	take(t, l, 0.915, 2, 1)
}

func TestRestsThatEndAreNoProbes(t *testing.T) {
	l := granted(open(3))
	take(t, l, 0.1, 3, 3)
	for i := range 3 {
		l.Done(at(0.11+0.1*float64(i)), Result{Outcome: Overload, Started: at(0.1)})
	}
	g := open(4)
	g.State = Probing
	l.Report(at(0.4), 3)
	l.Apply(at(0.4), g)
	take(t, l, 0.41, 3, 1)
	take(t, l, 5, 3, 0)
}

func TestWhereTokensAreFewOneIsAskedForAtOnce(t *testing.T) {
	for _, c := range []struct {
		rate float64
		want bool
	}{{2, true}, {40, false}} {
		g := open(2)
		g.Tokens, g.Rate, g.Share = 1, c.rate, c.rate
		l := granted(g)
		take(t, l, 0.1, 2, 1)
		if urgent := l.Done(at(0.15), Result{Outcome: OK, Started: at(0.1)}); urgent != c.want {
			t.Errorf("with a rate of %v/s and no token left urgent is %v", c.rate, urgent)
		}
	}
}

func TestTokensAreUsedEvenlyWhereSecondsAreCounted(t *testing.T) {
	grant := open(50)
	grant.Tokens, grant.Rate, grant.Share = 12, 40, 40
	l := granted(grant)
	take(t, l, 0.01, 50, 12) // nobody knows how the service counts
	l.Done(at(0.1), Result{Outcome: Throttled, Started: at(0.01), RetryAfter: time.Second})
	l.Report(at(0.11), 50)
	l.Apply(at(0.12), grant) // which does not want the pause
	take(t, l, 0.121, 50, 1)
	if next := l.Ready(at(0.13)); next != at(0.14) {
		t.Errorf("ready at %v", next.Sub(origin))
	}
	take(t, l, 0.141, 50, 1)
	take(t, l, 0.221, 50, 4)
	take(t, l, 0.9, 50, 6) // no more than there are
}

func TestOverloadOfAnEarlierEpochIsNotCounted(t *testing.T) {
	l := granted(open(4))
	take(t, l, 0.1, 3, 3)
	l.Report(at(0.25), 4)
	l.Done(at(0.26), Result{Outcome: Overload, Started: at(0.1)}) // the report is under way
	g := open(4)
	g.Epoch, g.Settle = 2, 150*time.Millisecond
	l.Apply(at(0.27), g)
	l.Done(at(0.3), Result{Outcome: Overload, Started: at(0.1)})
	l.Done(at(0.3), Result{Outcome: OK, Started: at(0.28), Latency: 20 * time.Millisecond}) // not settled
	r := l.Report(at(0.4), 4)
	if r.Overloads != 0 || r.Samples.N != 0 || r.Answered != 1 || r.Refused != 2 || r.Epoch != 2 {
		t.Errorf("%+v", r)
	}
}

func TestCancelledSaysNothing(t *testing.T) {
	l := granted(open(1))
	take(t, l, 0.1, 1, 1)
	if l.Done(at(5), Result{Outcome: Cancelled, Started: at(0.1), RetryAfter: time.Hour}) {
		t.Error("urgent")
	}
	if r := l.Report(at(5), 1); r.Answered+r.Refused+r.Overloads+r.Samples.N != 0 || r.RetryAfter != 0 || r.InFlight != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRetryAfterPausesHereAtOnce(t *testing.T) {
	l := granted(open(4))
	take(t, l, 0.1, 2, 2)
	if !l.Done(at(0.2), Result{Outcome: Throttled, Started: at(0.1), RetryAfter: 3 * time.Second}) {
		t.Error("not told at once")
	}
	take(t, l, 1, 1, 0)
	if why := l.Waits(at(0.7)); why != "the service asked to wait, 2.5s more" {
		t.Error(why)
	}
	r := l.Report(at(0.2), 4)
	if r.RetryAfter != 3*time.Second || r.Age != 100*time.Millisecond || r.Overloads != 0 || r.Refused != 1 {
		t.Errorf("%+v", r)
	}
	g := open(4)
	g.State, g.Wait = Paused, 3*time.Second
	l.Apply(at(0.2), g)
	take(t, l, 3.1, 1, 0)
	if due := l.NextSync(); due.After(at(0.5)) {
		t.Errorf("the next report is due at %v", due.Sub(origin))
	}
	// The operator resets the lane: the cluster knows of no pause any more.
	l.Report(at(1), 4)
	l.Apply(at(1), open(4))
	take(t, l, 1.3, 1, 1)
}

func TestRetryAfterThatTheClusterHasNotHeardOfOutlastsAGrant(t *testing.T) {
	l := granted(open(4))
	take(t, l, 0.1, 1, 1)
	l.Report(at(0.2), 4)
	l.Done(at(0.21), Result{Outcome: Throttled, Started: at(0.1), RetryAfter: time.Second})
	l.Apply(at(0.22), open(4))
	take(t, l, 0.9, 1, 0)
	if r := l.Report(at(0.3), 4); r.RetryAfter != time.Second {
		t.Errorf("%+v", r)
	}
}

func TestLostReportTellsOfRetryAfterAgain(t *testing.T) {
	l := granted(open(4))
	take(t, l, 0.1, 1, 1)
	l.Done(at(0.2), Result{Outcome: Overload, Started: at(0.1), RetryAfter: time.Second})
	r := l.Report(at(0.3), 4)
	l.Lost(at(0.4), r)
	again := l.Report(at(0.8), 4)
	if again.RetryAfter != time.Second || again.Age != 700*time.Millisecond || again.Refused != 1 {
		t.Errorf("%+v", again)
	}
}

func TestHostileAnswersAreBounded(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		name string
		r    Result
		want time.Duration // until which nothing may be taken
	}{
		{"a Retry-After below 0", Result{Outcome: Throttled, RetryAfter: -5 * time.Second}, 0},
		{"of ten years", Result{Outcome: Throttled, RetryAfter: 10 * year}, MaxRetryAfter},
		{"of the largest duration", Result{Outcome: Overload, RetryAfter: 1<<63 - 1}, MaxRetryAfter},
		{"a reset below 0", Result{Outcome: Throttled, Reset: -time.Second}, 0},
		{"a reset in ten years", Result{Outcome: Throttled, Reset: 10 * year}, MaxRetryAfter},
		{"less than none left", Result{Outcome: OK, Remaining: -7, Reset: time.Minute}, 0},
		{"a latency below 0", Result{Outcome: OK, Latency: -time.Second}, 0},
	} {
		l := granted(open(1))
		take(t, l, 1, 1, 1)
		c.r.Started = at(1)
		l.Done(at(1), c.r)
		r := l.Report(at(1), 1)
		if r.RetryAfter < 0 || r.RetryAfter > MaxRetryAfter || r.Reset < 0 || r.Reset > MaxRetryAfter || r.Samples.Sum < 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
		if c.want > 0 {
			if ready := l.Ready(at(1)); ready != at(1).Add(c.want) {
				t.Errorf("%s: ready after %v", c.name, ready.Sub(at(1)))
			}
		} else if !l.Ready(at(1)).Before(at(3)) {
			t.Errorf("%s: ready after %v", c.name, l.Ready(at(1)).Sub(at(1)))
		}
	}
}

func TestTokensUsedDuringAReportAreNotGivenAgain(t *testing.T) {
	g := open(10)
	g.Tokens, g.Rate, g.Share = 4, 40, 20
	l := granted(g)
	take(t, l, 0.1, 3, 3)
	if r := l.Report(at(0.2), 10); r.Unused != 1 {
		t.Errorf("%+v", r)
	}
	take(t, l, 0.21, 1, 1) // the one that was reported unused
	l.Apply(at(0.22), g)
	take(t, l, 0.23, 9, 3)
	take(t, l, 0.23, 1, 0)
	if why := l.Waits(at(0.23)); why != "rate 40/s" {
		t.Error(why)
	}
	l.Return(2) // no task was there: the tokens are as good as new
	take(t, l, 0.24, 9, 2)
}

func TestWithoutRedis(t *testing.T) {
	g := open(10)
	g.Tokens, g.Rate, g.Share = 8, 100, 8
	l := granted(g)
	r := l.Report(at(0.25), 10)
	l.Lost(at(0.5), r)
	if due := l.NextSync().Sub(at(0.5)); due <= 0 || due > lastTry {
		t.Errorf("next try after %v", due)
	}
	take(t, l, 1.9, 8, 8) // the lease holds
	if l.Stat(at(1.9)).Alone {
		t.Error("alone within the lease")
	}
	s := l.Stat(at(2.1))
	if !s.Alone || s.Permits != 5 {
		t.Errorf("after the lease: %+v", s)
	}
	for range 8 {
		l.Done(at(2.2), Result{Outcome: OK, Started: at(1.9)})
	}
	take(t, l, 2.2, 5, 0)  // no tokens yet
	take(t, l, 3.11, 5, 4) // half of 8/s, for a second
	for range 3 {
		l.Done(at(3.2), Result{Outcome: Overload, Started: at(3.11)})
	}
	if s := l.Stat(at(3.2)); s.Permits != 3 || s.Resting != 3 {
		t.Errorf("after overload: %+v", s)
	}
	l.Report(at(4), 10)
	l.Apply(at(4), g)
	if s := l.Stat(at(4)); s.Alone || s.Permits != 10 {
		t.Errorf("Redis is back: %+v", s)
	}
}

func TestWithoutRedisOnePermitIsKept(t *testing.T) {
	l := granted(open(1))
	take(t, l, 100, 1, 1)
	if l := granted(open(0)); l.Take(at(100), 1) != 0 {
		t.Error("a worker without a permit made one")
	}
}

func TestWordsOfWaiting(t *testing.T) {
	for want, g := range map[string]Grant{
		"paused by the operator":              {State: Held, Lease: time.Hour},
		"outage: probing":                     {State: Probing, Lease: time.Hour},
		"outage: the next probe comes soon":   {State: Outage, Wait: time.Second, Lease: time.Hour},
		"limit 3: others have it in use":      {Limit: 3, Tokens: -1, Lease: time.Hour},
		"the service asked to wait, 30s more": {State: Paused, Wait: 30 * time.Second, Lease: time.Hour},
		"":                                    {Permits: 1, Tokens: -1, Lease: time.Hour},
		"rate 0.5/s":                          {Permits: 1, Rate: 0.5, Lease: time.Hour},
	} {
		if got := granted(g).Waits(at(0)); got != want {
			t.Errorf("%+v: %q, want %q", g, got, want)
		}
	}
}
