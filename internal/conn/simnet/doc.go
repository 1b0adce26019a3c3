// Package simnet gives tests a Redis in a testing/synctest bubble: miniredis, on the
// bubble's clock and without sockets, behind a network whose faults tests choose.
//
// Each Node is one machine's way to Redis. What it is refused, loses or gets late
// does not touch the other nodes. A connection never blocks whoever writes to it, so a
// long pipeline needs no reader at the other end.
package simnet
