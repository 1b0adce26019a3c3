// Package simulation runs weir on a network that fails, in simulated time, many times
// over: unmodified asynq and go-redis, miniredis, weir's own workers and producers, all
// in a testing/synctest bubble for each seed. It shows that no fault of these makes
// weir lose a task, count one twice or misjudge one.
//
// A seed draws 2 or 3 workers, 1 or 2 producers with 300 tasks in all, how each task
// behaves (it succeeds, fails, fails at first, panics, exceeds its time, ignores that,
// is throttled, fails with an error that is not UTF-8), and the faults: requests cut off
// before, amid and after Redis has them; dials refused; machines cut off for 5 to 50 s,
// after which what they sent is lost or comes late; workers and producers that die at a
// random one of their requests, and whose last requests may arrive much later; workers
// stopped and producers interrupted in order; a clock that is off by up to 65 s.
// Then the faults end, and within minutes of simulated time all must be done.
//
// What is checked, of the invariants I1 to I8 and by name:
//
//	I1  the outcome file holds each seq once, in order if asked
//	I2  bits, counters and dead letters of the ledger agree
//	I3  each outcome is the one its handlers gave: a task that can succeed is ok, one that
//	    cannot is failed, with its class, after as many attempts as it had, all of them
//	    in the handlers' own log. A task may fail as crashed instead when workers had
//	    died or been cut off as often as that takes, one of them while it ran there alone
//	I4  executions beyond those needed are bounded by what was in flight at the faults;
//	    none begins after the outcome, but of a worker that was cut off when it asked
//	I5  the first outcome in the stream is the only one, and the one in the file
//	I6  no worker runs more handlers at once than its limit, or its lane's
//	I7  the checkpoint never goes back, and all below it has been enqueued
//	I8  nothing is left in asynq's queues, archive included, and no unknown key in Redis
//	liveness: every batch is done within 4 minutes, every queue empty 2 minutes later;
//	and every goroutine ends, or the bubble panics
//
// Tasks run at least once: two workers may run one task when one of them was cut off,
// and only the first outcome counts. A producer that is interrupted takes its tasks out
// of Redis, and with them the attempts they have spent.
//
// A seed in which simulated time stands still for minutes, because something spins or
// waits for a mutex whose holder sleeps, ends the process, and says what held it up.
//
// Not in it: faults of a connection's handshake (see package simnet), what go-redis
// pipelines by itself (AutoPipeline keeps timers for the whole process, and a bubble's
// are good in that bubble only), a Redis that loses writes, runs out of memory or is
// frozen, and the other programs' Redis commands: those the scenarios have, with real
// processes.
//
//	go test ./integration_test/simulation                     the default seeds, about a minute
//	go test ./integration_test/simulation -seeds 1000         that many
//	go test ./integration_test/simulation -first 1001         others
//	go test ./integration_test/simulation -seed 17 -v         one, with all that happens in it
//	go test ./integration_test/simulation -profile workers    only some kinds of faults
//
// A seed draws the same options and faults each time, but a run of it is not the same
// to the last bit: asynq and goroutines have chances of their own. A failing seed is
// printed with its options and timeline.
package simulation
