package tasks

import "context"

// Info identifies the running attempt.
type Info struct {
	ID      string // "<batch>:<seq>", the same in every attempt; the asynq task ID
	Batch   string // "" for a plain asynq task
	Seq     int64  // the task's number in its batch
	Attempt int    // 1 for the first
}

type infoKey struct{}

// WithInfo returns ctx carrying info; the worker calls it for each attempt.
func WithInfo(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// InfoFrom returns the running attempt's Info from a handler's context.
func InfoFrom(ctx context.Context) (Info, bool) {
	info, ok := ctx.Value(infoKey{}).(Info)
	return info, ok
}
