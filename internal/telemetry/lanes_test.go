package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/work"
)

// series are the values of a metric, by its lane and the other label.
func series(t *testing.T, c prometheus.Collector, metric string) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			values[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// However many lanes there are, so many have a label; what the others do is summed.
func TestLabelsOfLanesAreBounded(t *testing.T) {
	m := New("v").Worker()
	var stat work.Stat
	for i := range 1000 {
		name := fmt.Sprintf("lane-%03d", i)
		m.Result(name, governor.OK)
		m.Result(name, governor.Timeout)
		m.Sync(name, governor.Grant{Why: "slow start"}, time.Millisecond, nil)
		g := &governor.Stat{Grant: governor.Grant{Limit: 7, Permits: 3, Lease: time.Second, Ratio: 1.5, Base: time.Second}}
		stat.Lanes = append(stat.Lanes, lane.Stat{Name: name, InFlight: 2, Backlog: 5, Governed: g})
	}
	m.Sync("lane-000", governor.Grant{}, 0, errors.New("away"))
	m.Watch(func() work.Stat { return stat })
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	const states, results = 5, 2
	want := map[string]int{
		laneResults: results * (mostLanes + 1), laneChanges: mostLanes + 1, laneLimit: mostLanes + 1, laneShare: mostLanes + 1,
		laneInFlight: mostLanes + 1, laneWaiting: mostLanes + 1, laneRate: mostLanes + 1, laneRatio: mostLanes, laneBase: mostLanes,
		laneState: states * mostLanes, syncSeconds: 1, syncErrors: 1,
	}
	for _, f := range families {
		if n, is := want[f.GetName()]; is {
			delete(want, f.GetName())
			if len(f.Metric) != n {
				t.Errorf("%s has %d series, want %d", f.GetName(), len(f.Metric), n)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing are %v", want)
	}
	if got := series(t, m.results, laneResults)["other ok"]; got != 900 {
		t.Errorf("%v results of others, want 900", got)
	}
	few := newLanes()
	for i := range mostLanes {
		few.Result(fmt.Sprint("named-", i), governor.OK)
	}
	c := &laneGauges{lanes: few, stat: func() work.Stat { return work.Stat{Lanes: stat.Lanes[:2]} }}
	if got := series(t, c, laneInFlight); len(got) != 1 || got[other] != 4 {
		t.Errorf("in flight are %v", got)
	}
}

// Those that become the busiest get the labels of the idlest, and no counter falls.
func TestTheBusiestLanesHaveLabels(t *testing.T) {
	l := newLanes()
	now := time.Now()
	l.now = func() time.Time { return now }
	results := func(name string, n int) {
		for range n {
			l.Result(name, governor.OK)
		}
	}
	for i := range mostLanes {
		results(fmt.Sprint("old-", i), 10+i)
	}
	results("new", 21) // more than twice the idlest
	results("rare", 20)
	wantOf := func(when string, of map[string]float64) {
		t.Helper()
		got := series(t, l.results, laneResults)
		if len(got) > mostLanes+1 {
			t.Errorf("%s: %d series", when, len(got))
		}
		for name, n := range of {
			if got[name+" ok"] != n {
				t.Errorf("%s: %s has %v, want %v", when, name, got[name+" ok"], n)
			}
		}
	}
	wantOf("at first", map[string]float64{other: 41, "old-0": 10, "old-1": 11})
	now = now.Add(rankEvery)
	results("new", 1)
	results("old-0", 1)
	results("old-1", 1)
	wantOf("a minute later", map[string]float64{other: 42, "new": 1, "old-0": 0, "old-1": 12})
}
