// Package queue knows asynq's queues as they lie in Redis: the names of their
// keys, and the few things weir does to tasks in them that asynq has no call for.
// A lane's tasks are in the asynq queue of the lane's name, or spread over several queues:
// see Shards. Those that wait, and are not of normal priority, are in lists of weir's own
// beside it: see Priority, which alone knows them.
//
// What goes by the name of a lane in the calls of this package, but for Lane, Lanes, ByLane
// and Shards, is one queue: all of its keys are in one slot of a Cluster.
//
// The shape of asynq's keys is checked against asynq itself by a test.
package queue

import "strings"

// All is the set of all queues' names.
const All = "asynq:queues"

func prefix(lane string) string { return "asynq:{" + lane + "}:" }

// Pending is asynq's list of IDs that wait to be run, and weir's of those of normal priority:
// see Lists.
func Pending(lane string) string { return prefix(lane) + "pending" }

// LaneOf is the lane whose Pending a key is.
func LaneOf(pending string) (lane string, ok bool) {
	lane, ok = strings.CutPrefix(pending, "asynq:{")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(lane, "}:pending")
}

// Is says that a key is the lane's of that name, such as "active", or "t:ID". Unlike a
// comparison it makes no string: every call of asynq's is looked at.
func Is(key, lane, name string) bool {
	rest, ok := strings.CutPrefix(key, "asynq:{")
	if !ok || !strings.HasPrefix(rest, lane) {
		return false
	}
	rest, ok = strings.CutPrefix(rest[len(lane):], "}:")
	return ok && rest == name
}

// IsTask says that a key is the task's of that ID.
func IsTask(key, lane, id string) bool {
	prefix, ok := strings.CutSuffix(key, id)
	return ok && Is(prefix, lane, "t:")
}

// Active is the list of IDs that are being run.
func Active(lane string) string { return prefix(lane) + "active" }

// Lease is the sorted set of active IDs by the end of their lease (Unix seconds).
func Lease(lane string) string { return prefix(lane) + "lease" }

// Scheduled is the sorted set of IDs that run later, by when (Unix seconds).
func Scheduled(lane string) string { return prefix(lane) + "scheduled" }

// Retry is the sorted set of IDs that run again, by when (Unix seconds).
func Retry(lane string) string { return prefix(lane) + "retry" }

// Archived is the sorted set of IDs that asynq has given up, by when (Unix seconds).
func Archived(lane string) string { return prefix(lane) + "archived" }

// Paused exists while the queue is paused.
func Paused(lane string) string { return prefix(lane) + "paused" }

// TaskPrefix begins the keys of the queue's tasks: hashes of msg and state.
func TaskPrefix(lane string) string { return prefix(lane) + "t:" }

// GroupPrefix begins the keys of the queue's groups.
func GroupPrefix(lane string) string { return prefix(lane) + "g:" }
