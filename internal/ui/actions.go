package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/tasks"
)

const (
	// answerIn is after what time an action that goes on is answered.
	answerIn = 3 * time.Second
	// actionIn is how long one may take.
	actionIn = 10 * time.Minute
)

// conflictError says that something cannot be done as things are.
type conflictError string

func (e conflictError) Error() string { return string(e) }

// answer is what the page is told of an action.
type answer struct {
	// Done says in words what was done; of one that goes on, what was begun.
	Done string `json:"done"`
	// Batch is the batch that was begun.
	Batch string `json:"batch,omitempty"`
}

// actionOnBatch cancels, pauses, resumes or retries a batch.
func (b *board) actionOnBatch(retry RetryFunc) func(r *http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		name := r.PathValue("name")
		st, err := b.ledger.Info(r.Context(), name)
		if err != nil {
			return answer{}, err
		}
		over := st.Complete() || st.Phase == batch.GivenUp
		action := r.PathValue("action")
		if over && action != "retry" && !(action == "cancel" && !st.Complete()) {
			return answer{}, conflictError(fmt.Sprintf("batch %q is over; there is nothing to %s", name, action))
		}
		defer b.batches.stale()
		defer b.watch(name).stale()
		switch action {
		case "cancel":
			return b.begin(r, fmt.Sprintf("batch %s is cancelled", name), func(ctx context.Context) error { return b.weir.Cancel(ctx, name) })
		case "pause":
			return b.begin(r, fmt.Sprintf("batch %s is paused", name), func(ctx context.Context) error { return b.weir.Pause(ctx, name) })
		case "resume":
			return b.begin(r, fmt.Sprintf("batch %s goes on", name), func(ctx context.Context) error { return b.weir.Resume(ctx, name) })
		case "retry":
			return b.retry(r, st, retry)
		}
		return answer{}, badRequestError(fmt.Sprintf("no action %q", action))
	}
}

// begin does something to its end, also where the page goes; one that takes longer is
// answered before.
func (b *board) begin(r *http.Request, done string, do func(context.Context) error) (answer, error) {
	result := make(chan error, 1)
	b.working.Go(func() {
		ctx, cancel := context.WithTimeout(b.ctx, actionIn)
		defer cancel()
		result <- do(ctx)
	})
	select {
	case err := <-result:
		return answer{Done: done}, err
	case <-time.After(answerIn):
		return answer{Done: done + "; what is being run still ends"}, nil
	case <-r.Context().Done():
		return answer{}, context.Cause(r.Context())
	}
}

// retry runs the failed tasks of a class, or with a text in their error, once more.
func (b *board) retry(r *http.Request, of *batch.Info, retry RetryFunc) (answer, error) {
	var pick struct {
		Class batch.Class `json:"class"`
		Match string      `json:"match"`
	}
	if err := readJSON(r, &pick); err != nil {
		return answer{}, err
	}
	switch {
	case retry == nil:
		return answer{}, conflictError("this UI cannot enqueue: use producer retry " + of.Name)
	case !of.Complete():
		return answer{}, conflictError(fmt.Sprintf("batch %q still runs: its failures can be retried when it has ended, or was cancelled", of.Name))
	case of.Failed == 0:
		return answer{}, conflictError(fmt.Sprintf("batch %q has no failures", of.Name))
	}
	// While it is being enqueued, another of the same would be a batch of its own.
	key := fmt.Sprintf("%s %s %s", of.Name, pick.Class, pick.Match)
	if _, twice := b.retrying.LoadOrStore(key, true); twice {
		return answer{}, conflictError("these failures are being enqueued already")
	}
	name, feed, err := retry(b.ctx, of.Name, pick.Class, pick.Match)
	if err != nil {
		b.retrying.Delete(key)
		return answer{}, err
	}
	said, err := b.begin(r, fmt.Sprintf("the failures of %s run again as batch %s", of.Name, name), func(ctx context.Context) error {
		defer b.retrying.Delete(key)
		return feed(ctx)
	})
	said.Batch = name
	return said, err
}

// actionOnLane sets what a lane may do.
func (b *board) actionOnLane(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	if err := tasks.ValidLane(name); err != nil {
		return answer{}, badRequestError(err.Error())
	}
	var want struct {
		Rate   *string `json:"rate"`
		Burst  *int    `json:"burst"`
		Max    *int    `json:"max"`
		Min    *int    `json:"min"`
		Limit  *int    `json:"limit"`
		Weight *int    `json:"weight"`
		Shards *int    `json:"shards"`
		Pause  bool    `json:"pause"`
		Resume bool    `json:"resume"`
		Reset  bool    `json:"reset"`
	}
	if err := readJSON(r, &want); err != nil {
		return answer{}, err
	}
	change := lane.Change{Burst: want.Burst, Max: want.Max, Min: want.Min, Limit: want.Limit, Weight: want.Weight, Shards: want.Shards,
		Pause: want.Pause, Resume: want.Resume, Reset: want.Reset}
	if want.Rate != nil {
		rate, err := governor.ParseRate(*want.Rate)
		if err != nil {
			return answer{}, badRequestError(err.Error())
		}
		change.Rate = &rate
	}
	defer b.lanes.stale()
	var refused *lane.RefusedError
	switch err := change.Apply(r.Context(), b.weir.Redis(), name); {
	case errors.As(err, &refused):
		return answer{}, badRequestError(err.Error())
	case err != nil:
		return answer{}, err
	}
	return answer{Done: fmt.Sprintf("lane %s is set, in all workers within a second", name)}, nil
}

// readJSON reads a request's body. That it says to be JSON is a defence too: the form of
// another site cannot.
func readJSON(r *http.Request, into any) error {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != "application/json" {
		return badRequestError("the request must be JSON")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if err = d.Decode(new(json.RawMessage)); err == nil {
			err = errors.New("there is more than one value")
		}
	}
	if !errors.Is(err, io.EOF) {
		return badRequestError("the request cannot be read: " + err.Error())
	}
	return nil
}
