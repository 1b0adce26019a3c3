package integration_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Row "gather in order": results as the input was, however long each took.
func TestOrderedOutcomesComeInTheOrderOfInput(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	r := producerReading(t, shuffledSleeps(200), url, "run", "sleep", "--format", "ndjson", "--ordered").exits(t, 0)
	all := r.outcomes(t)
	allOK(t, all, 200)
	for i, o := range all {
		if want := fmt.Sprintf(`"task_number":%d,`, i); o.Seq != int64(i) || !strings.Contains(string(o.Result), want) {
			t.Fatalf("line %d is seq %d: %s", i, o.Seq, o.Result)
		}
	}
	t.Logf("200 in order, done in %v", r.doneIn(t))
}

// Row "as_completed": the quick ones do not wait for the slow ones; with
// `return_exceptions` the failed are among them.
func TestOutcomesComeAsTheyAreCompleted(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	input := `{"task_number":0,"seconds":15}
{"task_number":1,"seconds":0}
{"task_number":2,"seconds":10}
{"task_number":3,"seconds":5,"fail":"expected"}
`
	p := startReading(t, input, url, "run", "sleep", "--format", "ndjson")
	p.prints(1)
	r := p.wait().exits(t, 1)
	var order []int64
	for _, o := range r.outcomes(t) {
		order = append(order, o.Seq)
		if (o.State == batch.Failed) != (o.Seq == 3) {
			t.Errorf("seq %d: %s", o.Seq, o.State)
		}
	}
	lines := p.stdout.lineTimes()
	t.Logf("seqs came in the order %v, the first %.1f s before the last", order, lines[len(lines)-1].Sub(lines[0]).Seconds())
	if want := []int64{1, 3, 2, 0}; !slices.Equal(order, want) {
		t.Errorf("seqs came in the order %v, want %v", order, want)
	}
	if early := lines[len(lines)-1].Sub(lines[0]); early < time.Second {
		t.Errorf("the first outcome came only %v before the last", early)
	}
}

func shuffledSleeps(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"task_number":%d,"seconds":%g}`+"\n", i, float64(i*37%50)/100)
	}
	return b.String()
}

// Row "cancel on first error".
func TestFailFastCancelsTheSiblings(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url, "--concurrency", "10")
	// 9 run, 11 wait, when the failure comes.
	var input strings.Builder
	input.WriteString(`{"task_number":0,"seconds":0.3,"fail":"expected"}` + "\n")
	for i := 1; i <= 20; i++ {
		fmt.Fprintf(&input, `{"task_number":%d,"seconds":1000}`+"\n", i)
	}
	r := producerReading(t, input.String(), url, "run", "sleep", "--format", "ndjson", "--fail-fast", "--timeout", "30m").exits(t, 1)
	for seq, o := range bySeq(t, r.outcomes(t), 21) {
		if want := map[bool]batch.State{true: batch.Failed, false: batch.Cancelled}[seq == 0]; o.State != want {
			t.Errorf("seq %d: %s, want %s", seq, o.State, want)
		}
	}
	t.Logf("over after %v; %s", r.doneIn(t), r.summaryLine("read"))
	if r.took > 10*time.Second {
		t.Errorf("it took %v", r.took)
	}
	s := status(t, url, "")
	s.addsUp(t)
	if s.State != string(batch.GivenUp) || s.Failed != 1 || s.Cancelled != 20 {
		t.Errorf("status %+v", s)
	}
}

// Row "doubles and triples at once": {n: n^2} and {n: fib(n)}, by one worker.
func TestTwoBatchesAtOnceGiveTheirMaps(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	squares, fibs := make(map[string]string), make(map[string]string)
	a, b := big.NewInt(0), big.NewInt(1)
	for n := range int64(21) {
		squares[fmt.Sprint(n)] = fmt.Sprint(n * n)
		fibs[fmt.Sprint(n)] = a.String()
		a, b = b, new(big.Int).Add(a, b)
	}
	square := startProducer(t, url, "run", "square", "--repeat", "21")
	fibonacci := startProducer(t, url, "run", "fibonacci", "--repeat", "21")
	sameMap(t, merged(t, square.wait().exits(t, 0).outcomes(t)), squares)
	sameMap(t, merged(t, fibonacci.wait().exits(t, 0).outcomes(t)), fibs)
	t.Logf("both maps of %d are right", len(squares))
}

// Row "pool map of squares over processes, futures with PIDs".
func TestPoolOfWorkersMapsSquares(t *testing.T) {
	t.Parallel()
	const n = 20_000
	url := conntest.Server(t).URL()
	for range 3 {
		startWorker(t, url, "--concurrency", "4")
	}
	r := producer(t, url, "run", "square", "--repeat", fmt.Sprint(n)).exits(t, 0)
	all := r.outcomes(t)
	allOK(t, all, n)
	want, share := make(map[string]string), make(map[string]int)
	for i := range n {
		want[fmt.Sprint(i)] = fmt.Sprint(i * i)
	}
	sameMap(t, merged(t, all), want)
	for _, o := range all {
		share[o.Worker]++
	}
	t.Logf("%d squares by %v", n, share)
	if len(share) != 3 {
		t.Errorf("%d workers had a part in it, want 3: %v", len(share), share)
	}
}

func sameMap[V fmt.Stringer](t *testing.T, got map[string]V, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
	for k, w := range want {
		if got[k].String() != w {
			t.Errorf("%s gave %q, want %q", k, got[k].String(), w)
		}
	}
}
