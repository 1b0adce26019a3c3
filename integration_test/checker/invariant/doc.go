// Package invariant decides, after a run with faults, whether weir kept its
// promises. It shares nothing with weir's own counting: it reads the keys of Redis
// itself, the outcome files line by line, and the execution log that the handlers
// wrote (package chaos says how). A journal tells it what was done to the system
// meanwhile, for without that nobody can say which second executions were due to a
// fault.
//
//	I1  every seq 0..N-1 has exactly one outcome
//	I2  bitmap = stream = counters = outcome file
//	I3  outcome ok: a logged execution succeeded; failed: none did
//	I4  executions beyond the attempts that count <= tasks in flight at the faults
//	I5  the first outcome never changes
//	I6  handlers at once <= the worker's limit
//	I7  the checkpoint never goes back within a generation, and is never ahead of
//	    what is enqueued
//	I8  no ghost, orphan or unknown key is left, memory is back
//	I9  every process ended well or by our signal, without panic or race
//	I10 work goes on soon after a fault
package invariant
