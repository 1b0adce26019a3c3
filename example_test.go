package weir_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/tasks"
)

// Order is a task that calls a second service: the shop's prices.
type Order struct {
	Item   string `json:"item" validate:"required"`
	Prices string `json:"prices" validate:"http_url" doc:"where the prices are"`
}

type Priced struct {
	Cents int `json:"cents"`
}

// prices takes a permit of the lane "prices" for each request, in whatever task, on
// whatever worker: how many are in flight together follows what the service can take.
var prices = http.Client{Transport: tasks.Transport("prices", nil)}

var order = tasks.Define("test-order", tasks.Policy{Timeout: 5 * time.Second}, func(ctx context.Context, o Order) (Priced, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Prices+"/"+o.Item, nil) // ctx brings the lanes
	if err != nil {
		return Priced{}, tasks.Permanent(err)
	}
	resp, err := prices.Do(req)
	if err != nil {
		return Priced{}, err // a lane without a free permit too: the task comes back later
	}
	defer resp.Body.Close()
	if err := tasks.CheckResponse(resp); err != nil { // a 429 with Retry-After costs no attempt
		return Priced{}, err
	}
	var p Priced
	return p, json.NewDecoder(resp.Body).Decode(&p)
})

// A task that calls a second service from its handler.
func Example_secondService() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"cents":%d}`, 100*len(r.URL.Path[1:]))
	}))
	defer shop.Close()
	client, err := weir.Open(ctx, weir.Options{}) // Redis in this process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	worker, err := client.NewWorker(weir.WorkerOptions{Concurrency: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := worker.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer worker.Stop()

	orders := func(yield func(Order) bool) {
		_ = yield(Order{"tea", shop.URL}) && yield(Order{"bread", shop.URL})
	}
	for o, err := range weir.Run(ctx, client, order, orders, weir.BatchOptions{Ordered: true}) {
		fmt.Println(o.Seq, o.State, o.Result.Cents, err)
	}
	// Output:
	// 0 ok 300 <nil>
	// 1 ok 500 <nil>
}
