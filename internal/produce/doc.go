// Package produce is a producer: it begins a batch or goes on with one, feeds it,
// follows its outcomes, and ends it in an orderly way whatever happens.
//
// What always holds:
//
//   - One producer feeds a batch at a time: it holds the batch's lease, which
//     ends by itself when the producer dies.
//   - The same options and the same input go on with the same batch; anything
//     else under its name is refused.
//   - When the producer is interrupted, nothing of the batch is left running, and
//     the same command goes on with it. When its reader has gone, or the first
//     failure ends it, the batch is cancelled.
package produce
