package invariant

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"
)

// Batch is a batch to check.
type Batch struct {
	Name string
	Out  string   // its outcome file
	Seen []string // outcome lines as others read them meanwhile, such as followers
}

// Input is all that Check reads.
type Input struct {
	Redis   redis.UniversalClient
	Batches []Batch
	Logs    []string // the execution logs, a file per process
	Journal string   // "" where nothing was done to the system
	Limits  Limits
}

// Limits are the figures that the machine and the faults decide.
type Limits struct {
	// RecoveryP50 and RecoveryP99 bound how long a killed worker's tasks wait to run
	// again, where Redis was well meanwhile.
	RecoveryP50, RecoveryP99 time.Duration
	// Flow bounds how long after Redis answers again, or the last fault, work flows.
	Flow time.Duration
	// Memory is how much more Redis may use than when it was empty, beside the batches.
	Memory int64
}

// DefaultLimits are those of G3 and G4.
var DefaultLimits = Limits{
	RecoveryP50: 12 * time.Second, RecoveryP99: 20 * time.Second, Flow: 5 * time.Second, Memory: 8 << 20,
}

// Result is one invariant's.
type Result struct {
	ID   string
	OK   bool
	Text string
}

// Report is what Check found.
type Report []Result

// OK says that all invariants hold.
func (r Report) OK() bool {
	for _, one := range r {
		if !one.OK {
			return false
		}
	}
	return len(r) > 0
}

// Print writes a line for each invariant.
func (r Report) Print(w io.Writer) {
	for _, one := range r {
		verdict := "ok  "
		if !one.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "%-3s %s %s\n", one.ID, verdict, one.Text)
	}
}

// facts are all that was read.
type facts struct {
	in      Input
	records map[string]*record
	files   map[string]*outFile
	runs    *executions
	journal []Event
	left    []string // keys of Redis that should not be there
	keys    int
	memory  int64 // that Redis uses beside the batches' own keys
}

// Check reads everything and judges. An error says that something could not be read.
func Check(ctx context.Context, in Input) (Report, error) {
	f := &facts{in: in, records: make(map[string]*record), files: make(map[string]*outFile)}
	sizes := make(map[string]int64)
	for _, b := range in.Batches {
		r, err := readRecord(ctx, in.Redis, b.Name)
		if err != nil {
			return nil, err
		}
		o, err := readOut(b.Out, r.n())
		if err != nil {
			return nil, err
		}
		f.records[b.Name], f.files[b.Name], sizes[b.Name] = r, o, r.n()
	}
	var err error
	if f.journal, err = readJournal(in.Journal); err != nil {
		return nil, err
	}
	if f.runs, err = readExecutions(in.Logs, sizes, f.journal); err != nil {
		return nil, fmt.Errorf("read the execution log: %w", err)
	}
	if err := f.sweep(ctx); err != nil {
		return nil, fmt.Errorf("look at all keys: %w", err)
	}
	var all Report
	for i, judge := range []func(*finding){
		f.everySeqOnce, f.allAgree, f.outcomesAreTrue, f.fewDuplicates, f.firstStands,
		f.limitsHold, f.checkpointHonest, f.nothingLeft, f.goodEnds, f.soonAgain,
	} {
		var one finding
		judge(&one)
		all = append(all, one.result(fmt.Sprintf("I%d", i+1)))
	}
	return all, nil
}

// finding collects what an invariant's judge has to say.
type finding struct {
	figure string
	wrong  []string
	count  int
}

// bad notes a violation; of many only the first few are printed.
func (f *finding) bad(format string, args ...any) {
	f.count++
	if len(f.wrong) < 5 {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

func (f *finding) says(format string, args ...any) { f.figure = fmt.Sprintf(format, args...) }

func (f *finding) result(id string) Result {
	text := f.figure
	for i, w := range f.wrong {
		text += map[bool]string{true: ": ", false: "; "}[i == 0] + w
	}
	if more := f.count - len(f.wrong); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return Result{ID: id, OK: f.count == 0, Text: text}
}
