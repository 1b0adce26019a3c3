// Package together makes one call of Redis of many that are made at the same time.
//
// An Asker is group commit: while one round trip is under way, the questions that come
// wait for the next. Calls puts what is asked of one key's script into as few calls of it
// as their bounds allow, and sends those in one pipeline.
package together
