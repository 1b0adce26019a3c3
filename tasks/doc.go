// Package tasks is the vocabulary of weir: the task types, and what producer
// and worker need to know of them. It knows nothing of Redis, lanes or batches
// and imports nothing else of weir's but the
// rules on what may be connected to.
//
// # Adding a task type
//
// A type is one file: payload, result, handler, Define. This is all of it:
//
//	package tasks
//
//	// Resize makes a smaller copy of a picture.
//	var Resize = Define("resize", Policy{Timeout: time.Minute}, resize)
//
//	type ResizePayload struct {
//		Path  string `json:"path" weir:"line" validate:"required" doc:"the picture"`
//		Width int    `json:"width,omitzero" validate:"gte=1,lte=10000"`
//		Store string `json:"store" validate:"oneof=new old"`
//	}
//
//	type ResizeResult struct {
//		Path string `json:"path"`
//	}
//
//	// Defaults fills in what a payload leaves out (optional).
//	func (p *ResizePayload) Defaults() { p.Width = 640 }
//
//	// Validate has the rules that tags cannot express (optional).
//	func (p *ResizePayload) Validate() error {
//		if strings.HasSuffix(p.Path, ".svg") {
//			return &InvalidError{Field: "path", Reason: "must not be an SVG"}
//		}
//		return nil
//	}
//
//	// Lane names the service that this task calls, where it is not the same for all
//	// of the type (optional; ValidLane says what a name may be).
//	func (p *ResizePayload) Lane() (string, error) { return "pictures-" + p.Store, nil }
//
//	func resize(ctx context.Context, p ResizePayload) (ResizeResult, error) {
//		...
//	}
//
// Outside this package it is the same with tasks.Define; a program that has its
// package linked in knows the type. The tags of a payload:
//
//	json      the field's name; omitzero for what may be left out
//	validate  rules of github.com/go-playground/validator; required means not 0 or ""
//	weir      line: a plain text line becomes this field (one scalar field at most)
//	          required: the field must be given, 0 and "" included
//	doc       what `producer types` says of it
//
// # Verdicts
//
// What a handler returns decides what becomes of the task:
//
//	nil               ok
//	Permanent(err)    failed, no retry; an *InvalidError likewise
//	Rejected(err)     the same, since this worker's rules forbid the task
//	Throttled(after)  later, no attempt spent, the lane slows down
//	Overloaded(err)   as any other error, and the lane slows down
//	any other error   another attempt with exponential backoff, then failed;
//	                  a panic or the attempt's timeout likewise
//
// A handler that calls a further service does it with Transport, or with Acquire: such
// calls keep to that service's limits, in all workers together.
//
// # Promises
//
// A payload reaches a handler only after the very checks the producer made. It
// is one JSON object of at most Policy.MaxPayload bytes and 32 levels, valid
// UTF-8, without unknown or repeated names, with texts in place of references to
// secrets, which are taken out of result and error again. What is wrong is said about the
// first wrong field, in words that name no Go types. A result is valid JSON of
// at most Policy.MaxResult bytes. A handler may run more than once for one
// task: Info.ID is the same each time.
package tasks
