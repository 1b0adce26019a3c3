package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/lane"
)

// KEDA finds the number where the manifest says it is, and no number while Redis is away.
func TestAutoscaleServesWhatTheManifestAsksFor(t *testing.T) {
	asked := 0
	var away error = errors.New("away")
	m := New("v")
	m.Autoscale(func(context.Context) (*lane.Signal, error) {
		asked++
		return &lane.Signal{Wanted: 7, Backlog: 9, Lanes: []lane.Demand{{Lane: "a", Backlog: 9}}}, away
	})
	server, err := Serve("127.0.0.1:0", m)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	manifest, err := os.ReadFile("../../deploy/k8s/autoscale.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var path, location string
	for line := range strings.Lines(string(manifest)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value = strings.Trim(strings.TrimSpace(strings.Split(value, " #")[0]), `"`)
		switch key {
		case "url":
			_, path, _ = strings.Cut(strings.TrimPrefix(value, "http://"), "/")
		case "valueLocation":
			location = value
		}
	}
	if path == "" || location == "" {
		t.Fatalf("the manifest has path %q, value %q", path, location)
	}
	ask := func() (status int, v any) {
		resp, err := http.Get("http://" + server.Addr() + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var all map[string]any
		_ = json.NewDecoder(resp.Body).Decode(&all)
		return resp.StatusCode, all[location]
	}
	if status, v := ask(); status != http.StatusServiceUnavailable || v != nil {
		t.Errorf("while Redis is away: %d, %v", status, v)
	}
	away = nil
	for range 3 {
		if status, v := ask(); status != http.StatusOK || v != 7.0 {
			t.Errorf("%d, %v", status, v)
		}
	}
	if asked != 2 {
		t.Errorf("Redis was asked %d times", asked)
	}
}
