package report

import (
	"errors"
	"fmt"
	"strings"
)

// Counts is a batch at one moment. At rest
//
//	Read = OK + Failed + Cancelled + Pending + Scheduled + Retry + Active
//
// holds; while the batch runs the fields may have been read one after the other,
// so only Summary insists on it.
type Counts struct {
	Read, OK, Failed, Cancelled       int64 // Read: records given a seq so far
	Pending, Scheduled, Retry, Active int64 // in Redis without an outcome
	Retries                           int64 // attempts beyond the first, so far
	Total                             int64 // N once known (sealed or counted), else -1
}

// Done is how many tasks have their outcome.
func (c Counts) Done() int64 { return c.OK + c.Failed + c.Cancelled }

// Waiting is how many tasks are in Redis without one.
func (c Counts) Waiting() int64 { return c.Pending + c.Scheduled + c.Retry + c.Active }

// Check returns nil if the counts add up, else an error that says by how much
// they do not. It is for a batch at rest.
func (c Counts) Check() error {
	var wrong []string
	for _, f := range []struct {
		name string
		n    int64
	}{
		{"read", c.Read}, {"ok", c.OK}, {"failed", c.Failed}, {"cancelled", c.Cancelled},
		{"pending", c.Pending}, {"scheduled", c.Scheduled}, {"retry", c.Retry}, {"active", c.Active},
	} {
		if f.n < 0 {
			wrong = append(wrong, fmt.Sprintf("%s is %d", f.name, f.n))
		}
	}
	sum := c.Done() + c.Waiting()
	if off := c.Read - sum; off != 0 {
		which := "missing"
		if off < 0 {
			off, which = -off, "too many"
		}
		wrong = append(wrong, fmt.Sprintf("read %d, but ok %d + failed %d + cancelled %d + waiting %d = %d (%d %s)",
			c.Read, c.OK, c.Failed, c.Cancelled, c.Waiting(), sum, off, which))
	}
	// Total may be more than Read (interrupted), never less.
	if c.Total >= 0 && c.Read > c.Total {
		wrong = append(wrong, fmt.Sprintf("read %d of a batch of %d", c.Read, c.Total))
	}
	if wrong == nil {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}
