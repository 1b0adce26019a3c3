// Package schedule begins batches at times that a cron expression names.
//
// What always holds:
//
//   - A due run is one batch, named after its schedule and the time it was due, so that it
//     is begun once however often daemons die: who comes next goes on with that batch.
//   - Any number of daemons may run; one of them, which holds the lock, begins runs. The lock
//     ends by itself, by Redis' clock; every step that the holder notes in Redis carries its
//     fence, and fails when another has the lock meanwhile.
//   - A run is noted before its batch begins, and as over when the batch is fed or, of a
//     schedule without overlap, done. In between it is taken up again.
//   - What is due is judged by Redis' clock. A run that nobody could begin for a minute is
//     missed; the schedule says what becomes of it. So a daemon's death misses none.
//   - The next run of a schedule does not begin while one before goes on, unless it may
//     overlap. Due times that pass meanwhile count as missed at once.
//   - Paused times are neither run nor missed.
//
// Keys: weir:{:schedules}:all, a hash of JSON records by name, ...:lock and ...:fence. While
// Redis is away nothing begins.
package schedule
