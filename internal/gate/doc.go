// Package gate is the Redis client that asynq.Server is given: every dequeue
// passes through it.
//
// asynq asks for a task of one placeholder queue. The gate answers with a task of
// any lane that has both a permit and work: it waits (woken, not polling), takes
// as many tasks as it gets permits for in one pipeline, and hands them out one by
// one. Lanes take turns by weight, the lists of a lane by the share of their priority, and
// its queues one after the other: see turns.go. Permits are the lane's, however many queues
// its tasks are spread over. asynq never checks that a message is of the queue it asked for, and acks,
// leases and results go by the message's own queue; so one Server serves any
// number of lanes, known or not when it started. asynq's forwarding of due
// retries and scheduled tasks is done for every lane, by a script that knows the lists of
// priorities too; to any other task it does what asynq's does.
//
// What always holds:
//
//   - No task is taken without a permit, so none waits in this worker.
//   - A permit goes back when the handler has returned, when asynq skipped the
//     handler, and when taking the task failed.
//   - Tasks are taken by a script of the gate's, those of one list in one call, and closed
//     by another, those that end at the same time. They leave in Redis what asynq's own
//     scripts leave, called for each of the tasks, but for a field of the record that
//     lua/take.lua names; a test compares it.
//   - All of asynq's other scripts run as asynq wrote them: the gate repeats their calls
//     with the keys of another lane or list, and knows none of their text.
//   - Shares and weights hold by counts, in each worker. A lane with normal tasks only is
//     asked for nothing else.
//   - An ack whose context asynq has cancelled already (its syncer re-sends with
//     the context of the first try) is sent with a live one.
//   - What is no task, and so would keep asynq from forwarding what comes after it, is
//     set aside.
//   - The leases of this worker's tasks carry its mark. One that another worker has
//     taken meanwhile, since this one was frozen or cut off, is not extended, and its
//     end is not told to asynq: that would be taken for the other's.
//   - Redis errors make the dequeue wait before it returns; it never spins.
//
// Stop makes the gate take nothing new and gives back at once what was taken and
// not handed out.
package gate
