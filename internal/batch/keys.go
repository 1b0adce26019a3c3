package batch

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	// Format is the version of the keys' format. A batch of a newer one is refused.
	Format = 1

	// segment is how many seqs one bitmap key holds.
	segment = 1 << 20

	// MaxTasks bounds a batch, so that no script meets a number it cannot hold.
	MaxTasks = 1 << 40

	indexKey = "weir:batches"
)

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// ValidName says why name cannot name a batch, or nil.
func ValidName(name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("name %q: must be 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit", name)
	}
	return nil
}

func prefix(name string) string      { return "weir:{" + name + "}:" }
func batchKey(name string) string    { return prefix(name) + "batch" }
func outKey(name string) string      { return prefix(name) + "out" }
func deadKey(name string) string     { return prefix(name) + "dead" }
func lanesKey(name string) string    { return prefix(name) + "lanes" }
func suspectsKey(name string) string { return prefix(name) + "suspects" }
func triesKey(name string) string    { return prefix(name) + "tries" }
func expectKey(name string) string   { return prefix(name) + "expect" }
func producerKey(name string) string { return prefix(name) + "producer" }

func bitsKey(name string, seq int64) string {
	return prefix(name) + "bits:" + strconv.FormatInt(seq/segment, 10)
}

// Header is the asynq task header that marks a batch's task. Its value is the time
// of enqueue, or when it is due if that is later, in microseconds since 1970.
const Header = "weir"

// Signature is the asynq task header with the task's signature, where its producer has
// signed it.
const Signature = "weir-signature"

// TaskID is the asynq task ID of a batch's task.
func TaskID(name string, seq int64) string {
	return name + ":" + strconv.FormatInt(seq, 10)
}

// ParseTaskID is the inverse of TaskID.
func ParseTaskID(id string) (name string, seq int64, ok bool) {
	name, num, found := strings.Cut(id, ":")
	if !found || !nameRE.MatchString(name) {
		return "", 0, false
	}
	seq, err := strconv.ParseInt(num, 10, 64)
	if err != nil || seq < 0 || seq >= MaxTasks || strconv.FormatInt(seq, 10) != num {
		return "", 0, false
	}
	return name, seq, true
}
