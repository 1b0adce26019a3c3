package ui

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/weir-tasks/weir/internal/batch"
)

// failure is what a page is told of something that did not work.
type failure struct {
	Error   string `json:"error"`
	Missing bool   `json:"missing,omitempty"` // there is no such batch, lane or task
}

// fail answers with an error, and with the status that it asks for.
func fail(w http.ResponseWriter, err error) {
	var bad badRequestError
	var conflict conflictError
	status := http.StatusServiceUnavailable // Redis, all the same how
	switch {
	case errors.As(err, &bad):
		status = http.StatusBadRequest
	case errors.As(err, &conflict):
		status = http.StatusConflict
	case isMissing(err):
		status = http.StatusNotFound
	}
	reply(w, status, failure{err.Error(), status == http.StatusNotFound})
}

func reply(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "this cannot be put into JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that has gone
}

// api is the JSON API, and the pages' live news.
func (b *board) api(opt *Options) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, show func(context.Context, query) (any, error), names ...string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			q := query{r.URL.Query()}
			for _, name := range names {
				q.Set(name, r.PathValue(name))
			}
			v, err := show(r.Context(), q)
			if err != nil {
				fail(w, err)
				return
			}
			reply(w, http.StatusOK, v)
		})
	}
	get("/api/batches", now(viewOf(b.batchesView)))
	get("/api/batches/{name}", now(viewOf(b.batchView)), "name")
	get("/api/batches/{name}/failures", b.failuresView, "name")
	get("/api/batches/{name}/tasks/{seq}", b.taskView, "name", "seq")
	get("/api/lanes", now(viewOf(b.lanesView)))
	get("/api/lanes/{name}", now(b.laneView), "name")
	get("/api/workers", now(viewOf(b.workersView)))
	get("/api/redis", now(viewOf(b.redisView)))
	mux.HandleFunc("GET /api/about", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"actions": opt.Actions, "retry": opt.Actions && opt.Retry != nil,
			"embedded": b.weir.Embedded(), "asynq": "/asynq/", "classes": classes})
	})
	mux.Handle("GET /api/live", &live{views: b.liveViews(), closed: b.ctx.Done()})
	post := func(path string, do func(*http.Request) (answer, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if !opt.Actions {
				reply(w, http.StatusForbidden, failure{Error: "this UI only shows: it was started without --actions=on"})
				return
			}
			done, err := do(r)
			if err != nil {
				fail(w, err)
				return
			}
			reply(w, http.StatusOK, done)
		})
	}
	post("/api/batches/{name}/{action}", b.actionOnBatch(opt.Retry))
	post("/api/lanes/{name}", b.actionOnLane)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusNotFound, failure{Error: "there is nothing here"})
	})
	return mux
}

// now is a view without when it was so.
func now(of view) func(context.Context, query) (any, error) {
	return func(ctx context.Context, q query) (any, error) {
		v, _, err := of(ctx, q)
		return v, err
	}
}

// classes are those of failed tasks, for a filter.
var classes = []batch.Class{batch.Invalid, batch.Rejected, batch.Permanent, batch.Timeout, batch.Panic, batch.Exhausted, batch.Crashed, batch.Expired}
