// Package ui serves the web UI: asynqmon, as a library, behind the guards that
// it does not have of its own.
//
// What always holds:
//
//   - With Options.ReadOnly, which the command sets by default, nothing can be
//     changed through the API.
//   - Nothing another web site does in the user's browser has an effect here: a
//     cross-site request that is not a plain read gets 403, a request under a
//     foreign host name (DNS rebinding) gets 403, and no answer is readable or
//     can be framed elsewhere, since there is no CORS and CSP forbids frames.
//   - A payload is shown as text: cut at 4 KiB, never sniffed as HTML, and no
//     script runs but asynqmon's own (its inline scripts by their hash).
//   - The page needs nothing from another host. asynqmon asks Google for a font;
//     CSP refuses that and the browser's own is used.
//   - The Redis client belongs to whoever passed it. It is never closed here,
//     and once the func that Handler returns has returned it is not used either.
//
// There is no login: who reaches the address may look. Listen on loopback, or
// put something that authenticates in front.
//
// The package owns no keys. While Redis is away the API answers 500 with the
// cause; the page, and /healthz, stay up.
package ui
