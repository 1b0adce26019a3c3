// Package tracing follows a task with OpenTelemetry, from its enqueue through Redis to its
// attempts, the requests they make, and the outcome.
//
// What always holds:
//
//   - It is off, and then costs a look at one pointer, unless the standard OTEL_ variables
//     name a collector, or a program gives a provider of its own.
//   - All spans of a task are of one trace, of each attempt too, on whatever worker: the
//     enqueue's traceparent is a header of the task's asynq message, which retries and
//     rescue keep. Nobody signs it; a forged one can do no more than name another trace.
//   - Whether a trace is sampled is decided at the enqueue, and everybody keeps to that.
//   - No span has anything of a payload, a header, an error's text, or of a URL more than
//     scheme, host and port.
//   - A collector that does not answer slows nothing: spans are dropped, and the log says
//     so once, and when it answers again.
package tracing
