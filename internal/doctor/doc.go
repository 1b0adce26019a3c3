// Package doctor looks for what is wrong with Redis, workers, lanes and batches, and says
// what helps. It reads by the functions that the other commands and the web UI use.
//
// It changes nothing. What it costs is bounded: of long lists it looks at the first, and
// says how many it left out. What is seen of something that runs may be half of a change:
// where numbers do not add up they are read again before that is told.
package doctor
