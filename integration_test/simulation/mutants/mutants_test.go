package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mutant is weir without one guard: one place of its source is different. mutantSeeds
// of its profile must show it.
type mutant struct {
	name     string
	file     string // from the module's root; a script's text is embedded, and changes too
	old, new string // old occurs once
	profile  string
}

const mutantSeeds = "10"

var mutants = []mutant{
	{
		name: "checkpoint before enqueue", file: "internal/feed/feed.go", profile: "late enqueue",
		old: `	if err := f.enqueue(ctx, tasks); err != nil {
		return err
	}
	f.read.Store(to)
	return f.checkpoint(ctx, from, to)
`,
		new: `	if err := f.checkpoint(ctx, from, to); err != nil {
		return err
	}
	f.read.Store(to)
	return f.enqueue(ctx, tasks)
`,
	},
	{
		name: "no live context for acks", file: "internal/gate/gate.go", profile: "acks",
		old: `if errors.Is(ctx.Err(), context.Canceled) {`, new: `if false {`,
	},
	{
		name: "asynq's retry budget is the task's", file: "internal/feed/enqueue.go", profile: "calm",
		old: `endless = 1_000_000`, new: `endless = 0`,
	},
	{
		name: "no ledger check before a run", file: "internal/batch/lua/begin.lua", profile: "late enqueue",
		old: `elseif b[4] or redis.call('GETBIT', KEYS[2], at) == 1 then`, new: `elseif false then`,
	},
	{
		// What a look at Redis' run id would find too: a checkpoint that is not the one known.
		name: "no compare before the checkpoint moves", file: "internal/batch/lua/checkpoint.lua", profile: "late checkpoint",
		old: `if b[1] == ARGV[1] then`, new: `if true then`,
	},
	{
		name: "anybody stops a batch", file: "internal/batch/lua/stop.lua", profile: "late stop",
		old: `if holder and holder ~= ARGV[1] then`, new: `if false then`,
	},
	{
		name: "no fence behind a stopped batch", file: "internal/queue/lua/withdraw.lua", profile: "late stop",
		old: `if (redis.call('GET', KEYS[6]) or '') ~= ARGV[2] then`, new: `if false then`,
	},
	{
		name: "errors as handlers make them", file: "internal/attempt/verdict.go", profile: "calm",
		old: `func (l *later) Error() string { return sanitize(l.err.Error()) }`, new: `func (l *later) Error() string { return l.err.Error() }`,
	},
	{
		name: "no rescue", file: "internal/work/worker.go", profile: "deaths",
		old: `w.others.Go(func() { w.rescuer.Run(ctx) })`, new: ``,
	},
	{
		name: "suspects run beside others", file: "internal/batch/crash.go", profile: "blame",
		old: `aloneFrom = MaxCrashes - 1`, new: `aloneFrom = MaxCrashes + 1`,
	},
	{
		name: "the last outcome stands", file: "internal/batch/lua/record.lua", profile: "requests",
		old: `if b[3] or redis.call('SETBIT', KEYS[2], at, 1) == 1 then`, new: `redis.call('SETBIT', KEYS[2], at, 1) if b[3] then`,
	},
	{
		name: "permits go back before handlers return", file: "internal/attempt/run.go", profile: "calm",
		old: `e = r.call(ctx, d)`, new: `d.permit.Release(); e = r.call(ctx, d)`,
	},
}

// TestMutants shows that the simulation can fail: it does within a few seeds wherever a
// guard is missing.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			said, err := simulate(root, m.profile, "-overlay="+m.overlay(t, root), "-failfast")
			switch {
			case err == nil:
				t.Errorf("%s seeds of profile %q do not miss the guard:\n%s", mutantSeeds, m.profile, said)
			case !strings.Contains(said, "VIOLATED"):
				t.Errorf("it fails otherwise: %v\n%s", err, said)
			default:
				_, violated, _ := strings.Cut(said, "VIOLATED ")
				line, _, _ := strings.Cut(violated, "\n")
				t.Logf("caught: %.200s", line)
			}
		})
	}
}

// TestWithoutMutants shows that it is the missing guard that fails: with all of them
// the same seeds pass.
func TestWithoutMutants(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	profiles := []string{"late calls"} // of which no mutant is sure to be caught
	for _, m := range mutants {
		if !slices.Contains(profiles, m.profile) {
			profiles = append(profiles, m.profile)
		}
	}
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) {
			if said, err := simulate(root, profile); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

// simulate runs the seeds of a profile, and returns what that says.
func simulate(root, profile string, more ...string) (said string, err error) {
	args := append([]string{"test", "-count=1", "-timeout=9m"}, more...)
	args = append(args, "./integration_test/simulation", "-run=^TestSimulation$", "-seeds="+mutantSeeds, "-profile="+profile)
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// overlay writes the file that makes go build the mutant.
func (m *mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, m.file)
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), m.old); n != 1 {
		t.Fatalf("%s has the guard %d times, not once; this list is to follow it:\n%s", m.file, n, m.old)
	}
	dir := t.TempDir()
	mutated := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(src), m.old, m.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
