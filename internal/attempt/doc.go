// Package attempt runs one attempt of a task and sees to its outcome: it is the
// handler that asynq.Server is given.
//
// What always holds:
//
//   - The outcome is in the ledger before asynq gets its ack. While Redis is away
//     the finished outcome is held and sent until it is recorded.
//   - A task that has its outcome is closed, not run again.
//   - asynq's retry budget is never spent by infrastructure: only a handler's own
//     failure counts as an attempt.
//   - Nothing of a batch goes into asynq's archive.
//   - A permit is held until the handler has really returned. One that goes on
//     after its time is over is counted and reported as stuck; its task gets its
//     verdict all the same.
//   - Panics end in an outcome, never in the process.
package attempt
