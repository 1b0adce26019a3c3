// Package report is what people see of a running batch on stderr: a progress bar
// on a terminal, plain lines otherwise, a summary at the end. Programs read the
// outcome stream instead; nothing here is meant to be parsed.
//
// What always holds:
//
//   - The numbers of the summary add up, or it says ACCOUNTING MISMATCH. None is
//     adjusted to look right.
//   - What is kept does not grow with the batch: two histograms, one sample per
//     class of failure, the names of the workers up to a cap.
//   - Text from outside (errors, worker names, verdicts) is shown without control
//     characters: a response body cannot move the cursor or colour the screen.
//   - The bar never takes more than one line, whatever the terminal's width.
//   - Nothing runs in the background: the bar moves when Update is called.
//
// Everything is safe for concurrent use. A terminal that takes no output (Ctrl-S)
// blocks Update, Note, Summary and writers from Beside; it never blocks Outcome.
// Errors of writing to Out are ignored: there is nobody left to tell.
package report
