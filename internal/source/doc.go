// Package source reads a producer's input: files, stdin or generated numbers,
// as lines, NDJSON or CSV, plain or compressed, one record at a time.
//
// What always holds:
//
//   - The input is never in memory. A source holds one read-ahead buffer of at
//     most MaxLine plus 64 KiB, and the window of a decompressor (gzip 32 KiB,
//     zstd at most 128 MiB, the limit of the zstd command itself).
//   - One bad record never stops the others. A record that is too long, not
//     text, malformed or does not fit the task type comes back from Next as a
//     Record with Err, and the next call goes on behind it.
//   - An error of Next itself ends the input: io.EOF after the last record,
//     anything else names file and line. Everything before it was delivered;
//     a line cut off by the error is not a record. The error stays.
//   - The same bytes give the same records, whatever the sizes of the reads
//     they arrive in. The Raw of all records, in order, holds every byte that
//     can change a payload, CSV headers included, so a hash over it tells
//     whether a resumed batch still reads the input it began with.
//   - A record is delivered as soon as its line has been read, so FIFOs and
//     terminals work; a compressed stream gives what its decoder gives.
//
// Lines end in LF or CRLF; the last one may lack its end. A byte order mark at
// the start of a file is dropped. Blank lines are not records, but count in
// line numbers. NUL bytes and invalid UTF-8 make a record invalid.
//
// # CSV
//
// The grammar is that of encoding/csv: comma, double quotes, quotes doubled
// inside quotes, line breaks allowed inside quotes, empty lines skipped. A fuzz
// test holds the two together. The parser is our own because encoding/csv reads
// a quoted field to its end however far away that is: one forgotten quote would
// take the rest of the file into memory and all its rows along. Here a
// malformed row is the line it starts on, and only that: reading goes on with
// the next line. The price is that the further lines of a malformed row of
// several lines are tried as rows too. A row of several lines may have MaxLine
// bytes in all.
//
// Going back is cheap: a line leaves a quote open only if it has an odd number
// of quotes, and keeps one open only if it has an even number, so no line is
// looked at more than once as the rest of a row and once as a row.
//
// # Decompression bombs
//
// Compression is recognised by the first bytes, not by the name. Memory does
// not depend on how much comes out, but time does: input that expands more than
// MaxRatio-fold, once it has given 1 MiB, is refused.
package source
