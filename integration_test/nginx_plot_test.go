package integration_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

// What is drawn for the README: see make plot.
func TestWhatAScenarioWasLikeIsDrawn(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WEIR_TEST_CSV", dir)
	phases := []servicePhase{{rate: 200}, {rate: 100}}
	all := []request{{at: 101.5, took: 0.1, status: 200}, {at: 102.5, took: 0.1, status: 200}}
	writeCSV(t, "limit_conn 20, 10", phases, []float64{100, 102, 104}, all, []limitAt{{101.45, 18}, {102, 19}, {103, 9}})
	file := filepath.Join(dir, "limit_conn-20-10.csv")
	text, err := os.ReadFile(file)
	must(t, err)
	const want = "1.45,20.00,18.00,1.00,200.00,0.00,0.00\n2.00,10.00,19.00,0.00,100.00,1.00,100.00\n3.00,10.00,9.00,0.00,100.00,1.00,100.00\n"
	if _, rows, _ := strings.Cut(string(text), "\n"); rows != want {
		t.Errorf("it is\n%swant\n%s", rows, want)
	}
	draws(t, "flow", string(text), 6)
}

// Likewise what make curves draws.
func TestCurvesOfTheBenchAreDrawn(t *testing.T) {
	draws(t, "scale", "over,x,tasks/s,us/task\nlanes,1,14000,74.6\nlanes,10,13000,75\nwindow,1000,12000,80\nwindow,10000,13000,81\n", 8)
}

// draws wants a drawing with so many lines or more.
func draws(t *testing.T, what, csv string, lines int) {
	t.Helper()
	cmd := exec.Command("go", "-C", "plot", "run", ".", what)
	cmd.Stdin = strings.NewReader(csv)
	svg, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(svg, []byte("<svg")) || bytes.Count(svg, []byte("<path")) < lines {
		t.Errorf("%v, drawn is %.300s", err, svg)
	}
}

// limitAt is a lane's limit at a time.
type limitAt struct{ at, limit float64 }

// limits looks at a lane's limit ten times a second until stop, which returns what it saw.
func limits(t *testing.T, redis *conntest.RealServer, lane string) (stop func() []limitAt) {
	rdb := redis.Client()
	done := make(chan struct{})
	var all []limitAt
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if v, ok, err := governor.Look(t.Context(), rdb, lane); err == nil && ok {
				all = append(all, limitAt{now(), float64(v.Limit)})
			}
		}
	})
	return func() []limitAt {
		close(done)
		looking.Wait()
		return all
	}
}

// writeCSV writes what a scenario was like, for integration_test/plot, into the folder
// that WEIR_TEST_CSV names, if any.
func writeCSV(t *testing.T, name string, phases []servicePhase, begins []float64, all []request, limits []limitAt) {
	dir := os.Getenv("WEIR_TEST_CSV")
	if dir == "" || len(limits) == 0 {
		return
	}
	name = strings.NewReplacer(" ", "-", ",", "").Replace(name)
	f, err := os.Create(filepath.Join(dir, name+".csv"))
	must(t, err)
	defer f.Close()
	w := csv.NewWriter(f)
	must(t, w.Write([]string{"seconds", "capacity", "limit", "in flight", "possible/s", "answered/s", "latency ms"}))
	for _, l := range limits {
		const window = 1.0
		phase := len(phases) - 1
		for phase > 0 && begins[phase] > l.at {
			phase--
		}
		in, ok, took := 0, 0, 0.0
		for _, r := range all {
			if r.at-r.took <= l.at && l.at < r.at {
				in++
			}
			if r.ok() && l.at-window <= r.at && r.at < l.at {
				ok, took = ok+1, took+r.took
			}
		}
		row := []float64{l.at - begins[0], phases[phase].rate / perSlot, l.limit, float64(in),
			phases[phase].rate, float64(ok) / window, 1000 * took / float64(max(1, ok))}
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = strconv.FormatFloat(v, 'f', 2, 64)
		}
		must(t, w.Write(fields))
	}
	w.Flush()
	must(t, w.Error())
	fmt.Printf("wrote %s\n", f.Name())
}
