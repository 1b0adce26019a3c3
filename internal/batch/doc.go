// Package batch is the ledger: the record in Redis of what became of every task
// of a batch. A batch is tasks 0..N-1 of one type from one source. It is open
// while a producer feeds it, sealed once N is known, and done when N outcomes
// are recorded; or it was cancelled.
//
// What always holds:
//
//   - A seq has at most one outcome, ever: the first one recorded. Recording it
//     again, from whichever process, changes nothing and says so.
//   - Bit, counters and outcome stream change in one script, so they never
//     disagree; ok + failed + cancelled is the number of bits set.
//   - A task is a suspect from the first time that its worker died until it has its
//     outcome, or until an attempt alone that its worker outlives. Others cost nothing for there being suspects: the batch's hash says
//     whether there are any.
//   - What is remembered of failed attempts is for people: no account depends on it, it is
//     bounded for each task and each batch, and tasks that have none cost nothing for it.
//   - The checkpoint is the lowest seq not yet enqueued. Where a lane has enough waiting,
//     seqs of other lanes overtake: how many have, and how many records were read, moves
//     with the checkpoint, so that what was enqueued can be counted at any moment.
//   - Tasks are enqueued before the checkpoint passes them, and an outcome is
//     recorded before asynq gets its ack. So a crash repeats work, never loses it.
//
// Keys, all in the batch's own hash slot:
//
//	weir:{NAME}:batch     hash: options, state, next (the checkpoint), hash, counts, the last producer
//	weir:{NAME}:bits:K    bitmap of the outcomes of seqs K*2^20 ...; removed when full
//	weir:{NAME}:out       stream of outcomes; what has been read may be trimmed
//	weir:{NAME}:dead      hash seq -> failed outcome with its payload
//	weir:{NAME}:lanes     set of the queues of lanes that its tasks went to
//	weir:{NAME}:suspects  hash seq -> deaths of its worker; gone when it is no suspect
//	weir:{NAME}:tries     hash seq -> its last failed attempts, for people; of the last 2,000 that had one
//	weir:{NAME}:expect    how many tasks its producer expects, and by what; gone 30 s after it
//	weir:{NAME}:producer  lease of the one producer that feeds it
//
// and weir:batches, a sorted set of all names by creation time.
//
// Memory does not grow with N but by one bit a task, until a segment of the
// bitmap is full. While Redis is away nothing is recorded; callers repeat until
// it answers, which the first-writer rule makes harmless.
package batch
