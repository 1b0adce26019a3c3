package tasks

import (
	"context"
	"errors"
	"strings"
	"testing"
)

type lanePayload struct {
	To string `json:"to" weir:"line"`
	N  int    `json:"n,omitzero"`
}

func (p *lanePayload) Defaults() { p.N = 7 }

func (p *lanePayload) Lane() (string, error) {
	switch p.To {
	case "plain":
		return "", errors.New("is nowhere")
	case "named":
		return "", invalidf("to", "is nowhere")
	}
	if p.N == 7 {
		return p.To, nil
	}
	return p.To + "-other", nil
}

var laneTest = Define("lane-test", Policy{Lane: "unused"}, func(_ context.Context, p lanePayload) (string, error) { return p.To, nil })

func TestAPayloadMayNameItsLane(t *testing.T) {
	typ := laneTest.Type()
	if !typ.DerivesLane() || Square.Type().DerivesLane() {
		t.Error("which type derives its lanes?")
	}
	for payload, want := range map[string]string{`{"to":"a"}`: "a", `{"to":"a","n":1}`: "a-other"} {
		if err := typ.Check([]byte(payload)); err != nil {
			t.Error(err)
		}
		if got, err := typ.LaneOf([]byte(payload)); got != want || err != nil {
			t.Errorf("lane of %s: %q, %v", payload, got, err)
		}
	}
	if got, err := Square.Type().LaneOf([]byte(`{"n":1}`)); got != "square" || err != nil {
		t.Errorf("lane of a type without: %q, %v", got, err)
	}
	if got, err := Ping.Type().LaneOf([]byte(`{"host":"h"}`)); got != "ping" || err != nil {
		t.Errorf("lane of ping: %q, %v", got, err)
	}
}

// Before it is enqueued and before it is run.
func TestAPayloadWithoutALaneIsInvalid(t *testing.T) {
	for to, field := range map[string]string{"plain": "", "named": "to", "a:b": "", "": "", strings.Repeat("a", 129): ""} {
		payload := []byte(`{"to":"` + to + `"}`)
		reason := "is nowhere"
		if to != "plain" && to != "named" {
			reason = "must match"
		}
		wantInvalid(t, laneTest.Type().Check(payload), field, reason)
		_, err := laneTest.Type().Run(t.Context(), payload)
		wantInvalid(t, err, field, reason)
		_, err = laneTest.Type().LaneOf(payload)
		wantInvalid(t, err, field, reason)
	}
	if _, err := laneTest.Type().LaneOf([]byte("{")); err == nil {
		t.Error("what is no JSON has a lane")
	}
}

// TestNamesAreBounded: the longest, and one that is longer.
func TestNamesAreBounded(t *testing.T) {
	for n, ok := range map[int]bool{1: true, maxLane: true, maxLane + 1: false, 0: false} {
		if err := ValidLane(strings.Repeat("a", n)); ok != (err == nil) {
			t.Errorf("a lane's name of %d: %v", n, err)
		}
	}
	for n, ok := range map[int]bool{1: true, 64: true, 65: false, 0: false} {
		if namePattern.MatchString(strings.Repeat("a", n)) != ok {
			t.Errorf("a type's name of %d: must be taken: %v", n, ok)
		}
	}
}
