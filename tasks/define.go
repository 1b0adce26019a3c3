package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
)

// Definition is a task type as its own Go code sees it: payload P, result R.
type Definition[P, R any] struct {
	typ *Type
}

// Define makes a task type known under name and returns it. P is a struct whose
// tags are the rules of the payload (see the package comment); R is anything
// that becomes JSON.
//
// The handler runs in many goroutines at once, and more than once for a task
// whose worker died. It should end when its context does; its error is a
// verdict: see Permanent and Throttled.
//
// Define panics on a caller's bug, so that it is found at start: an invalid or
// taken name, a payload that is no struct, a policy or a tag that makes no sense.
func Define[P, R any](name string, policy Policy, handler func(context.Context, P) (R, error)) *Definition[P, R] {
	payload, result := reflect.TypeFor[P](), reflect.TypeFor[R]()
	policy = policy.filled(name)
	if err := checkDefinition(name, policy, payload, handler == nil); err != nil {
		panic(fmt.Sprintf("tasks: define %q: %v", name, err))
	}
	shape, err := shapeOf(payload)
	if err != nil {
		panic(fmt.Sprintf("tasks: define %q: %v", name, err))
	}
	// A misspelt rule makes the validator panic: better now than at the first task.
	var zero P
	_ = validate(&zero)

	t := &Type{
		name:          name,
		policy:        policy,
		shape:         shape,
		payloadSchema: sync.OnceValue(func() json.RawMessage { return schemaOf(payload) }),
		resultSchema:  sync.OnceValue(func() json.RawMessage { return schemaOf(result) }),
	}
	t.check = func(data []byte) error {
		data, err := withPlaceholders(t, data)
		if err == nil {
			_, err = decode[P](t, data)
		}
		return err
	}
	if _, ok := any(&zero).(laner); ok {
		t.lane = laneOf[P]
	}
	t.run = func(ctx context.Context, data []byte) ([]byte, error) {
		data, secrets, err := dereference(ctx, t, data)
		if err != nil {
			return nil, err
		}
		p, err := decode[P](t, data)
		if err != nil {
			return nil, withoutReason(err, secrets)
		}
		defer secrets.panicking()
		r, err := handler(withScrubber(ctx, secrets), p)
		if err != nil {
			return nil, secrets.error(err)
		}
		result, err := encodeResult(ctx, t, r)
		if err != nil {
			return nil, secrets.error(err)
		}
		return secrets.result(result)
	}
	register(t)
	return &Definition[P, R]{typ: t}
}

func checkDefinition(name string, policy Policy, payload reflect.Type, noHandler bool) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("the name must match %s", namePattern)
	}
	if problem := policy.problem(); problem != "" {
		return fmt.Errorf("%s", problem)
	}
	if payload.Kind() != reflect.Struct {
		return fmt.Errorf("the payload must be a struct, not %v", payload)
	}
	if policy.Concurrency > 0 && reflect.PointerTo(payload).Implements(reflect.TypeFor[laner]()) {
		return fmt.Errorf("Concurrency is of one lane, but each payload names its own: producer lane NAME --limit limits one")
	}
	if noHandler {
		return fmt.Errorf("no handler")
	}
	return nil
}

// Type returns the task type with payload and result erased.
func (d *Definition[P, R]) Type() *Type { return d.typ }

// Encode returns the payload's JSON once it passes every rule; else *InvalidError.
func (d *Definition[P, R]) Encode(payload P) ([]byte, error) {
	data, err := encodePayload(payload)
	if err != nil {
		return nil, err
	}
	if err := d.typ.Check(data); err != nil {
		return nil, err
	}
	return data, nil
}

// DecodeResult returns the result in an outcome's JSON. Fields that this
// program does not know are left out: the worker may be newer.
func (d *Definition[P, R]) DecodeResult(data []byte) (R, error) {
	var r R
	if err := unmarshalResult(data, &r); err != nil {
		return r, fmt.Errorf("decode result of %s: %w", d.typ.name, err)
	}
	return r, nil
}
