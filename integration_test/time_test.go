package integration_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Row "1 task, 5 tasks one by one, 5 at once, of 1 s".
func TestTasksTakeAsLongAsTheirSleepsOneByOneAndAtOnce(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	for _, c := range []struct {
		name        string
		args        []string
		n           int
		least, most time.Duration
	}{
		{"one", []string{"--repeat=1"}, 1, time.Second, 4500 * time.Millisecond},
		{"one-by-one", []string{"--repeat=5", "--window=1"}, 5, 5 * time.Second, 15 * time.Second},
		{"at-once", []string{"--repeat=5"}, 5, time.Second, 4500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			done := time.Hour
			for try := 0; try < 3 && done > c.most; try++ { // others use the machine too: the quickest counts
				r := producer(t, url, append([]string{"run", "sleep", "--payload", sleepOf(time.Second), "--batch", fmt.Sprint(c.name, try)}, c.args...)...).exits(t, 0)
				allOK(t, r.outcomes(t), c.n)
				done = min(done, r.doneIn(t))
				t.Logf("%s: done in %v, the process took %v", c.name, r.doneIn(t), r.took.Round(time.Millisecond))
			}
			if done < c.least || done > c.most {
				t.Errorf("done in %v, want %v to %v", done, c.least, c.most)
			}
		})
	}
}

// Row "1000 tasks of 1 s with 50 consumers": 20.0 to 20.2 s on a quiet machine.
// Only its two variants are parallel, since others would be measured with them.
func TestThousandTasksOfASecondTake20SecondsWith50Consumers(t *testing.T) {
	for _, c := range []struct {
		name    string
		workers []string
	}{
		{"one worker of 50", []string{"50"}},
		{"two workers of 25", []string{"25", "25"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := conntest.Server(t).URL()
			for _, slots := range c.workers {
				startWorker(t, url, "--concurrency", slots)
			}
			p := startProducer(t, url, "run", "sleep", "--repeat", "1000", "--payload", sleepOf(time.Second))
			r := p.wait().exits(t, 0)
			allOK(t, r.outcomes(t), 1000)
			lines := p.stdout.lineTimes()
			began := status(t, url, "").Created
			took := lines[len(lines)-1].Sub(began)
			t.Logf("%s: %.3f s from the batch's creation to its last outcome on stdout, %.3f s to its first; %s",
				c.name, took.Seconds(), lines[0].Sub(began).Seconds(), r.summaryLine("start ms"))
			if took < 20*time.Second || took > 25*time.Second {
				t.Errorf("it took %v, want 20.0 s, at most 25 s", took)
			}
		})
	}
}

// Row "ping of hosts, one of them dead".
func TestPingingHostsTakesAsLongAsTheSlowest(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	live := portOf(listen(t))
	dead, deadPort := deafAddress(t)

	var hosts []string
	add := func(host, port string, count int, interval, timeout float64) {
		hosts = append(hosts, fmt.Sprintf(`{"host":%q,"method":"tcp","port":%s,"count":%d,"interval":%g,"timeout":%g}`,
			host, port, count, interval, timeout))
	}
	for range 5 {
		add("127.0.0.1", live, 3, 0.5, 2) // 1 s each
		add("localhost", live, 3, 0.5, 2)
	}
	add("no-such-host.invalid", "80", 1, 1, 2)
	add(dead, deadPort, 1, 1, 2) // 2 s

	r := producerReading(t, strings.Join(hosts, "\n"), url, "run", "ping", "--format", "ndjson").exits(t, 0)
	var sum time.Duration
	for seq, o := range bySeq(t, r.outcomes(t), len(hosts)) {
		sum += time.Duration(o.MS * float64(time.Millisecond))
		wantLoss := `"loss":0,`
		if seq >= 10 {
			wantLoss = `"loss":1,`
		}
		if !strings.Contains(string(o.Result), wantLoss) {
			t.Errorf("seq %d: %s, want %s", seq, o.Result, wantLoss)
		}
	}
	done := r.doneIn(t)
	t.Logf("%d hosts, two of them dead: done in %v; one after the other it would be %v", len(hosts), done, sum.Round(10*time.Millisecond))
	if sum < 10*time.Second || done > sum/2 {
		t.Errorf("done in %v of %v", done, sum)
	}
}

// listen accepts connections and closes them.
func listen(t *testing.T) net.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr()
}

func portOf(a net.Addr) string { return strconv.Itoa(a.(*net.TCPAddr).Port) }
