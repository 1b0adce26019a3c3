// Package logs is how weir logs: text on a terminal, JSON elsewhere.
//
// What always holds:
//
//   - A line about a task of a batch has its batch, seq and lane, of an attempt its number
//     and, where there is one, the trace it belongs to; the keys are in task.go.
//   - Payloads and headers of tasks are in no line; see Hide for texts of handlers, which
//     may quote them.
//   - Warnings and errors that say the same come a few at a time; of the others a line says
//     how many there were, ten seconds later and at the process' end. What that takes is
//     bounded, whatever comes.
package logs
