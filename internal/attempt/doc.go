// Package attempt runs one attempt of a task and sees to its outcome: it is the
// handler that asynq.Server is given.
//
// What always holds:
//
//   - The outcome is in the ledger before asynq gets its ack. While Redis is away
//     the finished outcome is held and sent until it is recorded or Stop's time is
//     over, also when asynq has given the task up, as it does after 30 s.
//   - A task that has its outcome is closed, not run again.
//   - Whether an attempt may run is asked when its task is taken, for all that are taken
//     at once. An answer that is older than 100 ms, that says anything else than "run it",
//     or since which a batch's end was announced, does not count: the ledger is asked anew.
//   - Announcements only cut attempts off; what becomes of the task, the ledger says.
//   - asynq's retry budget is never spent by infrastructure: only a handler's own
//     failure counts as an attempt.
//   - Nothing of a batch goes into asynq's archive.
//   - A permit is held until the handler has really returned. One that goes on
//     after its time is over is counted and reported as stuck; its task gets its
//     verdict all the same.
//   - A task whose worker died twice while it was active runs alone: the gate takes
//     nothing new, what runs is waited for, and suspects go one after another. After a
//     second of that, or one attempt, other tasks have their turn.
//   - A task without the signature that the worker wants is not run.
//   - Panics end in an outcome, never in the process.
package attempt
