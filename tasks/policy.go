package tasks

import (
	"fmt"
	"regexp"
	"time"
)

// NoRetries as Policy.Retries means one attempt only. It is not 0, because 0
// means "DefaultPolicy's".
const NoRetries = -1

// Policy is how a task type's attempts are made. Fields left zero take
// DefaultPolicy's.
type Policy struct {
	// Timeout is the most one attempt may take; the handler's context ends then.
	Timeout time.Duration
	// Retries is the number of further attempts after the first.
	Retries int
	// Backoff is the base of the exponential backoff with full jitter between
	// attempts, MaxBackoff its ceiling.
	Backoff    time.Duration
	MaxBackoff time.Duration
	// MaxPayload and MaxResult cap the JSON of payload and result, in bytes. MaxPayload is 256 KiB
	// at most: larger data belong in a store, and their address in the payload. A worker may
	// have a cap of its own in place of MaxResult.
	MaxPayload int
	MaxResult  int
	// Lane is the way to the service these tasks call; default: the type's name. A
	// payload with a method Lane() (string, error) names its own instead.
	Lane string
	// Governed says that the lanes of these tasks lead to services: how many are in
	// flight, in all workers together, follows what each service can take. What the
	// handler returns tells: see Throttled and Overloaded.
	Governed bool
	// Concurrency is the most of this type's lane in flight in one worker
	// process; 0 leaves it to the worker's own limit. A type whose payloads name
	// their lanes has none.
	Concurrency int
}

// DefaultPolicy fills the zero fields of every Policy. Its Lane is the type's
// own name, its Concurrency the worker's limit.
var DefaultPolicy = Policy{
	Timeout:    30 * time.Second,
	Retries:    3,
	Backoff:    time.Second,
	MaxBackoff: 10 * time.Minute,
	MaxPayload: 64 << 10,
	MaxResult:  256 << 10,
}

// maxPayload is the most that any type may take.
const maxPayload = 256 << 10

// namePattern is what a task type may be called.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// lanePattern allows host names too: a lane is often one service's address. A
// colon stays out, it separates a lane from the number of its queue.
var lanePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// ValidLane is an error that says so if name cannot be a lane's.
func ValidLane(name string) error {
	if !lanePattern.MatchString(name) {
		return fmt.Errorf("lane %q must match %s", name, lanePattern)
	}
	return nil
}

// filled returns p with its zero fields filled in, for the type called name.
// In a filled policy Retries is the plain number, NoRetries has become 0.
func (p Policy) filled(name string) Policy {
	orDefault(&p.Timeout, DefaultPolicy.Timeout)
	orDefault(&p.Retries, DefaultPolicy.Retries)
	orDefault(&p.Backoff, DefaultPolicy.Backoff)
	orDefault(&p.MaxBackoff, max(DefaultPolicy.MaxBackoff, p.Backoff))
	orDefault(&p.MaxPayload, DefaultPolicy.MaxPayload)
	orDefault(&p.MaxResult, DefaultPolicy.MaxResult)
	orDefault(&p.Lane, name)
	if p.Retries == NoRetries {
		p.Retries = 0
	}
	return p
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// problem says what is wrong with a filled policy, or "".
func (p Policy) problem() string {
	switch {
	case p.Timeout < 0:
		return fmt.Sprintf("Timeout is %v, must not be negative", p.Timeout)
	case p.Retries < 0:
		return fmt.Sprintf("Retries is %d, must be NoRetries or more", p.Retries)
	case p.Backoff < 0:
		return fmt.Sprintf("Backoff is %v, must not be negative", p.Backoff)
	case p.MaxBackoff < p.Backoff:
		return fmt.Sprintf("MaxBackoff %v is less than Backoff %v", p.MaxBackoff, p.Backoff)
	case p.MaxPayload < 0 || p.MaxResult < 0:
		return "MaxPayload and MaxResult must not be negative"
	case p.MaxPayload > maxPayload:
		return fmt.Sprintf("MaxPayload is %d, must be at most %d; keep larger data in a store, and their address in the payload", p.MaxPayload, maxPayload)
	case ValidLane(p.Lane) != nil:
		return ValidLane(p.Lane).Error()
	case p.Concurrency < 0:
		return fmt.Sprintf("Concurrency is %d, must not be negative", p.Concurrency)
	}
	return ""
}
