// Package feed is the producer's side of a batch: it reads records, makes tasks of
// them, and moves the checkpoint.
//
// What always holds:
//
//   - A task is enqueued before the checkpoint passes it. After a crash the same
//     input is read again from its start: what has an outcome is skipped, what is
//     in Redis already is recognised by its task ID, what is missing is enqueued.
//   - The input that the checkpoint covers is the same as before: its running hash
//     is compared. Until it has been, nothing is enqueued: other input is refused
//     and leaves the batch as it was.
//   - At most a window of the batch's tasks is in Redis without an outcome. Held
//     here are two chunks of records and, until the hash has been compared, those
//     of an earlier life's window.
//   - A record that does not fit the task type gets its outcome at once.
//
// Checkpoint and enqueues lie in different hash slots, so they are not atomic
// together; the order above makes that harmless.
package feed
