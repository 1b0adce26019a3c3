// Package ui serves the web UI: weir's own pages, and under /asynq/ asynqmon, as a library,
// behind the guards that it does not have of its own.
//
//	browser -- pages (static) -- /api/live: a view, once a second -- board -- shared reads -- Redis
//	                         \-- POST /api/...: an action --------- weir.Client
//
// What always holds:
//
//   - What is shown was read from Redis by the functions that the commands use, and a plot
//     has only what was read while somebody looked: nothing is made up between.
//   - However many look, Redis is asked once: see shared. What takes long is asked for less
//     often, so that looking has a fortieth of a connection's time, but every 15 s; while
//     nobody looks nothing is asked.
//   - Without Options.Actions nothing can be changed, and in asynqmon without
//     Options.Writable.
//   - Nothing another web site does in the user's browser has an effect here: a
//     cross-site request that is not a plain read gets 403, an action must say that it is
//     JSON, a request under a foreign host name (DNS rebinding) gets 403, and no answer is
//     readable or can be framed elsewhere, since there is no CORS and CSP forbids frames.
//   - What comes from tasks is shown as text: redacted, cut at 4 KiB, never made into
//     markup, and no script runs but the files served here (asynqmon's inline ones by their
//     hash). asynqmon reads the messages of 1000 tasks at once, 8 MiB of them, and no more; but
//     what asynq keeps of running tasks beside (asynq:workers) it reads as a whole.
//   - All that can be clicked is reached and done by keyboard, and has a name for screen
//     readers. News take away neither the focus nor what is being typed, and are not read
//     out. What a filter has found is, and once each change of a state on the page of what has
//     it: a batch, a lane, a task, Redis, and how many tasks are stuck; not those of a list's
//     rows.
//   - A page has no more rows of a list than mostPage, however many there are.
//   - The pages need nothing from another host. asynqmon asks Google for a font;
//     CSP refuses that and the browser's own is used.
//   - The Redis client belongs to whoever passed it. It is never closed here,
//     and once the func that Handler returns has returned it is not used either.
//
// Who reaches the address may look, unless Options.Logins says who else; the commands
// listen beyond loopback with a login alone.
//
// The package owns no keys. While Redis is away the API answers 503 with the
// cause, and pages say so and go on by themselves; /healthz stays up.
package ui
