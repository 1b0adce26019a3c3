package tasks

import (
	"context"
	"encoding/json"
)

// Type is a task type with payload and result erased: what producer and worker
// share. It is safe for use by many goroutines.
type Type struct {
	name   string
	policy Policy
	shape  *shape

	check func(payload []byte) error
	run   func(ctx context.Context, payload []byte) ([]byte, error)
	lane  func(payload []byte) (string, error) // nil: all go the policy's

	payloadSchema, resultSchema func() json.RawMessage
}

// Name returns the name the type was defined under.
func (t *Type) Name() string { return t.name }

// Policy returns the type's policy with the defaults filled in; in it Retries
// is the plain number of further attempts, 0 for NoRetries.
func (t *Type) Policy() Policy { return t.policy }

// Check decodes the payload strictly and validates it. What is wrong comes as
// *InvalidError.
func (t *Type) Check(payload []byte) error { return t.check(payload) }

// Run decodes and validates the payload, calls the handler and encodes its
// result. A payload that does not fit gives *InvalidError, a result that cannot
// be JSON or is over its cap, Policy.MaxResult or the worker's own, a permanent error; the handler's own
// errors come as they are. Run does not catch the handler's panics.
func (t *Type) Run(ctx context.Context, payload []byte) (result []byte, err error) {
	return t.run(ctx, payload)
}

// PayloadSchema returns the JSON Schema of the payload, rules included.
func (t *Type) PayloadSchema() json.RawMessage { return t.payloadSchema() }

// ResultSchema returns the JSON Schema of the result.
func (t *Type) ResultSchema() json.RawMessage { return t.resultSchema() }
