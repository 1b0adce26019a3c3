package rescue

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestScriptsUseWhatTheirHeadersName(t *testing.T) {
	t.Parallel()
	for _, src := range []string{beatSrc, watchSrc} {
		header, body, _ := strings.Cut(src, "\nlocal ")
		for _, arg := range []string{"KEYS[1]", "KEYS[2]", "ARGV[1]", "ARGV[2]", "ARGV[3]", "ARGV[4]"} {
			if strings.Contains(header, arg) != strings.Contains(body, arg) {
				t.Errorf("%s is in one of header and body: %s", arg, header)
			}
		}
	}
}

// The script by itself, with short times, on a real Redis too.
func TestTheSilentAreDead(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		const silence, unwatched = 1500, 1000
		beat := func(mark int) string {
			t.Helper()
			keys := []string{"weir:{workers}:beats", "weir:{workers}:watch"}
			dead, err := beatScript.Run(t.Context(), c, keys, mark, silence, unwatched, 60_000).StringSlice()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(dead, " ")
		}
		beat(7)
		var since time.Time
		wait := func(dead string) time.Duration {
			t.Helper()
			conntest.Eventually(t, 10*time.Second, "dead: "+dead, func(context.Context) bool { return beat(8) == dead })
			return time.Since(since)
		}
		since = time.Now()
		if took := wait("7"); took < 1400*time.Millisecond {
			t.Errorf("dead after %v", took)
		}
		beat(7)
		if dead := beat(8); dead != "" {
			t.Errorf("it beats, and dead is %q", dead)
		}
		wait("7")
		time.Sleep(unwatched*time.Millisecond + 100*time.Millisecond) // nobody watches
		since = time.Now()
		if dead := beat(8); dead != "" {
			t.Errorf("right after a break %q is dead", dead)
		}
		if took := wait("7"); took < 1400*time.Millisecond {
			t.Errorf("after a break, dead after %v", took)
		}
	})
}

// taken makes a lane's tasks active, as by a worker of a mark.
func (r *fixture) taken(lane string, mark queue.Mark, ids ...string) {
	r.t.Helper()
	r.active(lane, ids...)
	r.sign(lane, mark, ids...)
}

// sign extends leases as a worker of a mark does.
func (r *fixture) sign(lane string, mark queue.Mark, ids ...string) {
	for _, id := range ids {
		end, _ := strconv.ParseFloat(mark.Lease(time.Now().Add(30*time.Second).Unix()), 64)
		r.c.ZAdd(r.ctx, queue.Lease(lane), redis.Z{Score: end, Member: id})
	}
}

// beating beats under a mark, as a worker does, until the returned function is called.
func (r *fixture) beating(mark queue.Mark) (die func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	go func() { defer close(done); newPulse(r.c, mark, nil).run(ctx) }()
	die = func() { cancel(); <-done }
	r.t.Cleanup(die)
	return die
}

func TestTheTasksOfOneThatFallsSilentGoBackInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		for phase := range 4 {
			lane, dead, other := strconv.Itoa(phase), queue.Mark(100+phase), queue.Mark(200+phase)
			r.watch(2, lane)
			die := r.beating(dead)
			r.beating(other)
			time.Sleep(20*time.Second + time.Duration(phase)*300*time.Millisecond)
			r.taken(lane, dead, "1")
			r.taken(lane, other, "2")
			die()
			time.Sleep(Silence - interval - 10*time.Millisecond)
			r.wantPending(lane)
			time.Sleep(2*interval + 20*time.Millisecond)
			r.wantPending(lane, "1")
		}
	})
}

// A worker that was silent beats again, and takes tasks, just when others have heard
// that it is dead.
func TestOneThatComesBackKeepsWhatItTakes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		rescuer := r.rescuer(func() []string { return []string{"a"} })
		die := r.beating(1)
		r.beating(2)
		time.Sleep(20 * time.Second)
		die()
		time.Sleep(Silence + 2*interval)
		if err := rescuer.pulse.once(r.ctx); err != nil || !rescuer.pulse.gone(time.Now())[1] {
			t.Fatal("it is not dead", err)
		}
		r.beating(1)
		time.Sleep(10 * time.Millisecond)
		r.taken("a", 1, "1")
		if err := rescuer.round(r.ctx, time.Now()); err != nil {
			t.Fatal(err)
		}
		r.want(t, 0)
	})
}

// However often those die that watch, what they know is in Redis.
func TestDyingWatchersDelayNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		die := r.beating(1)
		time.Sleep(20 * time.Second)
		r.taken("a", 1, "1")
		die()
		var ran time.Duration
		for ; ran < Silence+2*time.Second; ran += 1500 * time.Millisecond {
			ctx, cancel := context.WithTimeout(r.ctx, 1500*time.Millisecond)
			r.rescuer(func() []string { return []string{"a"} }).Run(ctx)
			cancel()
			r.FastForward(watchHeld) // else the dead one's place would be kept for ever here
		}
		r.want(t, 1)
	})
}

// Redis was away: nobody could say anything, and nobody is dead.
func TestAnOutageKillsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(2, "a")
		r.beating(1)
		time.Sleep(20 * time.Second)
		r.taken("a", 1, "1")
		for range 5 {
			r.SetDown(true)
			time.Sleep(30 * time.Second)
			r.SetDown(false)
			time.Sleep(Patience / 2)
			r.sign("a", 1, "1")
			time.Sleep(Patience / 2)
			r.sign("a", 1, "1")
		}
		r.want(t, 0)
	})
}

// What a rescuer heard before it was frozen is not acted upon.
func TestOldNewsOfADeathIsNone(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	p := newPulse(nil, 1, nil)
	p.hear([]uint64{5}, now)
	if gone := p.gone(now.Add(silent)); !gone[5] || len(gone) != 1 {
		t.Errorf("dead are %v", gone)
	}
	if gone := p.gone(now.Add(silent + 1)); len(gone) != 0 {
		t.Errorf("dead are %v", gone)
	}
	if len(p.news) != 1 {
		t.Error("nobody was told")
	}
	<-p.news
	if p.hear([]uint64{5}, now); len(p.news) != 0 {
		t.Error("a death is told twice")
	}
}
