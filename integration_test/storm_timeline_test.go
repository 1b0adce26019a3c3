package integration_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// fault is one of the storm's.
type fault struct {
	at     time.Duration // since the beginning
	kind   string
	target string // a role, or "redis"
	lasts  time.Duration
	much   int // delay in ms, rate in KB/s; for swallow 0 loses replies, 1 requests
}

func (f fault) String() string {
	s := fmt.Sprintf("%6.1f s %-8s %-10s", f.at.Seconds(), f.kind, f.target)
	if f.lasts > 0 {
		s += fmt.Sprintf(" for %.1f s", f.lasts.Seconds())
	}
	if f.much > 0 {
		s += fmt.Sprintf(" (%d)", f.much)
	}
	return s
}

// The roles of the storm's processes.
var (
	producers = []string{"producer-0", "producer-1"}
	workers   = []string{"worker-0", "worker-1", "worker-2", "worker-3"}
	followers = []string{"follower-0"}
	stormers  = append(append(append([]string{}, producers...), workers...), followers...)
)

// mix is what the faults are, by weight.
var mix = []struct {
	weight  int
	kind    string
	targets []string
	most    time.Duration // how long it lasts, from a second on
}{
	{20, "kill", workers, 0},
	{12, "kill", producers, 0},
	{6, "kill", followers, 0},
	{8, "kill", []string{"redis"}, 2 * time.Second},
	{10, "stop", workers, 40 * time.Second},
	{8, "stop", producers, 40 * time.Second},
	{4, "stop", followers, 40 * time.Second},
	{5, "stop", []string{"redis"}, 12 * time.Second},
	{9, "reset", stormers, 0},
	{6, "cut", stormers, 8 * time.Second},
	{6, "delay", stormers, 8 * time.Second},
	{4, "swallow", stormers, 12 * time.Second},
	{2, "throttle", stormers, 8 * time.Second},
}

// timeline draws n faults over a time; the same seed draws the same.
func timeline(seed int64, n int, length time.Duration) []fault {
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	all := 0
	for _, m := range mix {
		all += m.weight
	}
	gap := length / time.Duration(n)
	var faults []fault
	at := 2 * time.Second
	for range n {
		at += gap/5 + rand64(rng, gap*8/5)
		pick := rng.IntN(all)
		for _, m := range mix {
			if pick -= m.weight; pick >= 0 {
				continue
			}
			f := fault{at: at, kind: m.kind, target: m.targets[rng.IntN(len(m.targets))]}
			if m.most > 0 { // evenly on a logarithmic scale: short ones are more frequent
				f.lasts = time.Duration(float64(time.Second) * math.Pow(m.most.Seconds(), rng.Float64()))
			}
			switch m.kind {
			case "delay":
				f.much = 20 + rng.IntN(800)
			case "swallow":
				f.much = rng.IntN(2)
			case "throttle":
				f.much = 1 + rng.IntN(2)
			}
			faults = append(faults, f)
			break
		}
	}
	return faults
}

func rand64(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most) + 1))
}

func TestTheSameSeedDrawsTheSameStorm(t *testing.T) {
	t.Parallel()
	one := timeline(7, 210, 270*time.Second)
	if fmt.Sprint(one) != fmt.Sprint(timeline(7, 210, 270*time.Second)) || fmt.Sprint(one) == fmt.Sprint(timeline(8, 210, 270*time.Second)) {
		t.Error("the timeline does not hang on the seed alone")
	}
	kinds := make(map[string]int)
	for _, f := range one {
		role, _, _ := strings.Cut(f.target, "-")
		kinds[f.kind+" "+role]++
	}
	for _, want := range []string{"kill worker", "kill producer", "kill follower", "kill redis", "stop worker", "stop redis", "reset worker", "delay worker"} {
		if kinds[want] == 0 {
			t.Errorf("of 210 faults none is %q: %v", want, kinds)
		}
	}
	if last := one[len(one)-1].at; last < 200*time.Second || last > 340*time.Second {
		t.Errorf("the last of 270 s is at %v", last)
	}
}
