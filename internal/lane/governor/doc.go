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
// Keys, all of one cluster slot: weir:{LANE}:flow (the state), weir:{LANE}:flow:v (what
// of it people read) and weir:{LANE}:flow:config (what the operator wants; read by each
// call, so a change holds everywhere at the next one). An idle lane's first two expire
// after an hour. weir:lanes is the set of all lanes with a configuration.
package governor
