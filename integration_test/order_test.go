package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Order is the batch's: a reader that goes on must do as the one before, or it could
// not tell what that one has handed on.
func TestABatchKeepsItsOrderOfOutcomes(t *testing.T) {
	t.Parallel()
	for _, toFile := range []bool{true, false} {
		for _, order := range [][2]string{{"--ordered=false", "--ordered"}, {"--ordered", "--ordered=false"}} {
			t.Run(fmt.Sprint(toFile, order), func(t *testing.T) {
				t.Parallel()
				const n = 1500
				url := durable(t).URL()
				startWorker(t, url, "--concurrency", "10")
				dir := t.TempDir()
				in := filepath.Join(dir, "in.ndjson")
				var records strings.Builder
				for i := range n {
					seconds := 0.02
					if i == 30 {
						seconds = 5
					}
					fmt.Fprintf(&records, "{\"task_number\":%d,\"seconds\":%g}\n", i, seconds)
				}
				must(t, os.WriteFile(in, []byte(records.String()), 0o600))
				args := []string{"run", "sleep", in, "--batch", "b"}
				if toFile {
					args = append(args, "--out", filepath.Join(dir, "out"))
				}
				p := startProducer(t, url, append(args, order[0])...)
				awaitStanding(t, url, "b", "some are done", func(s standing) bool { return s.OK > 60 })
				p.signal(syscall.SIGINT)
				first := p.wait().exits(t, 130)
				producer(t, url, append(args, order[1])...).exits(t, 2).says(t, `batch "b" is in use: --ordered was "`)
				again := producer(t, url, append(args, order[0])...).exits(t, 0)
				all := outcomes(t, first.stdout+again.stdout)
				if toFile {
					all = readOutcomes(t, filepath.Join(dir, "out"))
				}
				allOK(t, all, n)
			})
		}
	}
}

// Two batches begun at once do not write over each other.
func TestAnOutcomeFileHasOneWriter(t *testing.T) {
	t.Parallel()
	url := durable(t).URL()
	out := filepath.Join(t.TempDir(), "out")
	first := startProducer(t, url, "run", "square", "--batch", "a", "--repeat", "50", "--out", out)
	first.logs("begun")
	producer(t, url, "run", "square", "--batch", "b", "--repeat", "50", "--out", out).exits(t, 2).
		says(t, "outcome file "+out+" is being written by another producer: choose another --out")
	startWorker(t, url)
	first.wait().exits(t, 0)
	allOK(t, readOutcomes(t, out), 50)
}
