package simulation

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// watchStream notes the outcomes in a batch's stream, and wants each seq's first to be
// its only one.
func (w *world) watchStream(b *simBatch) {
	entries, err := w.redis.Stream("weir:{" + b.name + "}:out")
	if err != nil {
		return // there is none yet
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if e.Values[0] != "o" || b.entries[e.ID] {
			continue
		}
		b.entries[e.ID] = true
		line := e.Values[1]
		seq := seqOf([]byte(line))
		if first, known := b.seen[seq]; known {
			w.violateLocked("I5", "%s has a second outcome, %s after %s", batch.TaskID(b.name, seq), line, first)
			continue
		}
		b.seen[seq] = line
		ms, _, _ := strings.Cut(e.ID, "-")
		at, _ := strconv.ParseInt(ms, 10, 64)
		b.at[seq] = time.UnixMilli(at)
	}
}

// before is called before each command, those of scripts too: it looks at a stream before
// anything can leave it, and at each move of a checkpoint, since the next may hide it.
func (w *world) before(_ *server.Peer, cmd string, args ...string) bool {
	for _, b := range w.batches {
		switch {
		case cmd == "HSET" && args[0] == "weir:{"+b.name+"}:batch":
			w.watchMove(b, args[1:])
		case strings.HasPrefix(cmd, "EVAL") && len(args) >= 4 && args[1] == "2" && slices.Contains(args, "weir:{"+b.name+"}:out"):
			w.watchStream(b)
		}
	}
	return false
}

// watchMove wants the checkpoint never to go back. Redis is in the middle of a script.
func (w *world) watchMove(b *simBatch, fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] != "next" {
			continue
		}
		to, err := strconv.ParseInt(fields[i+1], 10, 64)
		w.mu.Lock()
		if err != nil || to < b.next {
			w.violateLocked("I7", "the checkpoint of %s went from %d to %s", b.name, b.next, fields[i+1])
		}
		b.next = to
		w.mu.Unlock()
	}
}

// watchCheckpoint wants all below the checkpoint to be fed.
func (w *world) watchCheckpoint(ctx context.Context, b *simBatch) {
	for ctx.Err() == nil {
		w.lookAtCheckpoint(b)
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
	}
}

// lookAtCheckpoint reads in this order because a task leaves Redis only after its
// outcome has been recorded.
func (w *world) lookAtCheckpoint(b *simBatch) {
	record := "weir:{" + b.name + "}:batch"
	next, err := strconv.ParseInt(w.redis.HGet(record, "next"), 10, 64)
	if err != nil {
		return // not made yet
	}
	fed := make(map[int64]bool)
	for _, key := range w.redis.Keys() {
		if of, isTask := ofQueue(key); isTask {
			name, seq, _ := batch.ParseTaskID(strings.TrimPrefix(key, queue.TaskPrefix(of)))
			fed[seq] = fed[seq] || name == b.name
		}
	}
	bits, _ := w.redis.Get("weir:{" + b.name + "}:bits:0")
	var missing []int64
	for seq := range next {
		has := seq/8 < int64(len(bits)) && bits[seq/8]&(0x80>>(seq%8)) != 0
		if !has && !fed[seq] {
			missing = append(missing, seq)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(missing) > 0 && !b.interrupted.Load() { // an interrupted producer withdraws tasks
		w.violateLocked("I7", "the checkpoint of %s stands at %d, but these were never enqueued: %v", b.name, next, missing)
	}
}

// notAfterOutcome wants no run of a task to begin when its outcome has been recorded,
// but by a worker that was cut off when it asked the ledger.
func (w *world) notAfterOutcome(b *simBatch, r *run) {
	w.watchStream(b)
	w.mu.Lock()
	at, recorded := b.at[r.seq]
	w.mu.Unlock()
	if recorded && time.Since(at) > time.Second && !r.worker.gone() && !r.worker.backSince(at) {
		w.violate("I4", "%s runs, and had its outcome %v before", batch.TaskID(b.name, r.seq), time.Since(at))
	}
}
