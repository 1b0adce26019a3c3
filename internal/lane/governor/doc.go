// Package governor finds how much each service can take, for all workers together.
//
// A lane has a limit of tasks in flight, which adapts itself to the service; a rate,
// if the operator set one or the service's 429s and headers taught one; and a state:
// open, in an outage, probing, or paused. They are kept in Redis, and decided upon by
// one script, sync.lua, that every worker calls for each of its busy lanes about four
// times a second: it reports what it saw and is leased its share. There is no leader,
// and the only clock is Redis'.
//
// Between two calls a worker decides by itself, with a Local: no request waits for Redis.
//
// What always holds:
//   - The permits leased out are never more than the limit. Where the limit fell below
//     what is in flight, no new ones are given until that has drained.
//   - A lease ends by itself after 2 s (later with very many workers), so those of a dead
//     worker come back. A worker that does not reach Redis keeps its share as long, then
//     goes on with half of it, and takes what overload it sees into account.
//   - When the state is lost, every worker keeps what it has in flight until all have
//     reported: there is no burst.
//   - A Retry-After holds the whole lane in all workers, at most MaxRetryAfter.
//   - During an outage there is one probe in the cluster.
//
// What it decides by, in sync.lua; L is the limit, ok and ov are replies and overloads:
//
//   - Rounds. Replies are counted from a decision until there are enough, 12 to 150, and
//     two means have passed; after a change of L only once the traffic before has drained.
//   - Latency. r = 1 + middle(q - b)/mu, of the quantiles 25, 50 and 75%, their baselines b
//     and the mean service time mu: what a queue adds is the same for fast and slow. Or, if
//     that is more, r = 1 + (q - b)/mu of the 75th, at two errors of its rank (now below,
//     baseline above), but at most mean/mu: where a cache answers most, the others see no queue;
//     where there are two modes, the 75th may lie in either. Slow start's
//     rounds are the baseline; later b falls with q, hardly rises, and is measured anew at
//     L/2 once a minute where latency is what limits; at once where L has never been large enough
//     to know that it began without a queue, also where refusals are what limits; and below
//     5.5, where mu < 0.5 s, after 15 s, doubling to 120 while nothing comes of it. Where
//     latency may have fallen, such a round goes on to 40 replies. With the noise se of now and
//     of b, lo = 1.08 exp(se/2) and hi = 1.12 exp(1.5 se).
//   - Shrink. r > hi twice, or r >= min(2, hi^2), in slow start max(2, exp(3 se)):
//     L *= clamp(hi/r, 0.6, 0.97). Where two cuts of a fifth leave r as it is, the service is
//     slower, not queueing: b = q, most of L comes back.
//   - Grow, when in use, on r < lo: L *= 2 in slow start (1.5 once it has refused), 1.25 L + 1 to
//     the ceiling, else L += max(1, 0.05 L boost), at most a quarter, boost *= 1.5 a step, and up
//     to three times that where rounds are long, but not in the first step above a ceiling. Half
//     above a ceiling of overload there is none any more: slow start again. By Little's law growth by g
//     that lengthens the mean by more than 1 + 0.65 (g-1), beyond noise, bought nothing: the
//     ceiling is what comes through times mu.
//   - Overload is 503, 429, no connection, a timeout. f is its usual share, learned where L
//     does not grow, nor cuts of the last 3 s may end it, and checked at 0.6 L. If
//     ov > 2 nf + 2 sqrt(nf) + 0.5, n = ok + ov, L loses the ov - nf of one rest, at most half (three
//     quarters before there is a baseline), unless it is 1; and that is the
//     ceiling: looked above after 2 to 3 s and 40 to 150 ok, doubling each time it is met again.
//     The first refusal ends such a look.
//     A rejected permit rests for two intervals, or one latency; as long it is nobody else's.
//   - Outage. Nine tenths overload and nothing else for long: L = 0, for 0.5 s doubling to 3;
//     then one probe, and a ramp to 0.9 of what was before the cuts that led there.
//   - Rate, by GCRA. Headers say it; in the last second of windows of 10 s and more, requests
//     under way count as used. Else a Retry-After sets R: first to 0.7 of what came through,
//     or, where a lane that is younger than the wait may have had all of a window, to 0.98 of
//     the average until its end; later, with the average a from the end of one pause to that of
//     the next, to 0.98 a after long pauses (a window) if R was never below. Where R was tried
//     by less than 1.4 above one that had held, back to that and a tenth of the step; else to
//     sqrt(a R), within 0.7 (0.6 less than 2 s after the last pause) and 0.95 of R. After 3 to
//     60 s, longer while the same R, within a quarter, is refused, R grows by 2, 4, 8 ... 32%,
//     where R and not L is what holds requests back, to three times of what comes through.
//     Below ten a second, with pauses of a second, it grows by 8% at most, and falls by a fifth
//     at most where a is of fewer than 20 replies.
//     Until R is known, it grows by 32%, or doubles where the first requests were refused. Where a
//     Retry-After was of a second at most, a worker uses its tokens evenly: the service may have no
//     room for all at once. Where R is less than one an interval, a token is for who has a permit
//     free, and who has one free asks at once.
//   - Share. L in proportion to what each worker wants; the remainders are extras, which
//     pass on every 2 s.
//
// Keys, all of one cluster slot: weir:{LANE}:flow (the state), weir:{LANE}:flow:v (what
// of it people read) and weir:{LANE}:flow:config (what the operator wants; read by each
// call, so a change holds everywhere at the next one). An idle lane's first two expire
// after an hour. weir:lanes is the set of all lanes with a configuration.
package governor
