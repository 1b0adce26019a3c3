package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// A ratio that falls by more than 15% is told, with what it is of; less is taken for noise,
// and so are turns that others have slowed down.
func TestARegressionIsTold(t *testing.T) {
	all := rows
	defer func() { rows = all }()
	turns := 0
	ours := func(speed ...float64) func(*bench, int64) (sample, error) {
		return func(*bench, int64) (sample, error) {
			s := sample{rate: speed[turns%len(speed)], workerCPU: 50}
			turns++
			return s, nil
		}
	}
	raw := func(*bench, int64) (sample, error) { return sample{rate: 100, workerCPU: 100}, nil }
	for _, c := range []struct {
		name, kept string
		ours       func(*bench, int64) (sample, error)
		turns      int
		want       string
	}{
		{"as it was", "drain,rate,3", ours(300), fewest, ""},
		{"noise", "drain,rate,3", ours(260), fewest, ""},
		{"slower", "drain,rate,3\ndrain,CPU,2", ours(250), 7, "drain, rate: 2.50x in 7 turns, was 3.00x"},
		{"costlier", "drain,rate,3\ndrain,CPU,2.4", ours(300), 7, "drain, CPU: 2.00x in 7 turns, was 2.40x"},
		{"slowed down at first", "drain,rate,3", ours(100, 100, 300, 300), 4, ""},
		{"no such row", "drian,rate,3", ours(300), 0, `no row "drian"`},
		{"no such figure", "drain,speed,3", ours(300), 0, `no ratio of "speed"`},
		{"not measured", "drain,memory,1", ours(300), fewest, "memory was not measured"},
		{"nothing kept", "", ours(300), 0, "no ratios"},
		{"no number", "drain,rate,fast", ours(300), 0, `"fast" is no ratio`},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows = []row{{name: "drain", n: 1, ours: c.ours, raw: raw, figures: []figure{{of: rate}, {of: workerCPU, less: true}, {of: memory, less: true}}}}
			file := filepath.Join(t.TempDir(), "ratios.csv")
			text := strings.ReplaceAll("# what they were\n"+c.kept+"\n", ",CPU,", ","+workerCPU+",")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			turns = 0
			b := &bench{turns: 7, share: 1, rdb: conntest.Mini(t)}
			err := b.check(file)
			said := ""
			if err != nil {
				said = strings.ReplaceAll(err.Error(), workerCPU, "CPU")
			}
			if c.want == "" && err != nil || !strings.Contains(said, c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if turns != c.turns {
				t.Errorf("measured %d times, want %d", turns, c.turns)
			}
		})
	}
}
