// Package feed is the producer's side of a batch: it reads records, makes tasks of
// them, and moves the checkpoint.
//
// What always holds:
//
//   - A task is enqueued before the checkpoint passes it. After a crash the same
//     input is read again from its start: what has an outcome is skipped, what is
//     in Redis already is recognised by its task ID, what is missing is enqueued.
//   - The input that was read before the last move of the checkpoint is the same as
//     then: its running hash is compared. Until it has been, nothing is enqueued, so
//     other input is refused and leaves the batch as it was.
//   - At most a window of the batch's tasks is in Redis without an outcome. Held
//     here are two chunks of records, those that are parked and, until the hash has
//     been compared, those of an earlier life's window and parking.
//   - A lane that has its share of the window waiting gets no more: its records are
//     parked, bounded in number and bytes, and later ones of other lanes overtake them.
//     In a lane the order of input is kept. The checkpoint is the lowest seq that is
//     not enqueued; with it moves how many beyond it are, and the hash is of all that
//     was read, so that other input is refused whatever had overtaken.
//   - A task is enqueued into the list of its batch's priority. Whether its lane has its
//     share waiting, that list says and what is delayed there, of whatever priority.
//   - Where a lane is spread over several queues, a task's ID says to which of them it
//     goes. One that an earlier life may have enqueued goes where that has put it, however
//     many queues there were then: it is in one queue. The order of input is then kept in
//     each queue.
//   - A record that does not fit the task type gets its outcome at once.
//
// Checkpoint and enqueues lie in different hash slots, so they are not atomic
// together; the order above makes that harmless.
package feed
