package governor

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/sync.lua
	syncSrc    string
	syncScript = redis.NewScript(syncSrc)

	//go:embed lua/view.lua
	viewSrc    string
	viewScript = redis.NewScript(viewSrc)
)

const lanesKey = "weir:lanes"

func stateKey(lane string) string  { return "weir:{" + lane + "}:flow" }
func viewKey(lane string) string   { return "weir:{" + lane + "}:flow:v" }
func configKey(lane string) string { return "weir:{" + lane + "}:flow:config" }

// Keep is for how long the state of a lane that nobody reports on stays.
const Keep = time.Hour

// Keys are those of a lane's state, without what the operator configured. Without the first
// the lane begins anew.
func Keys(lane string) []string { return []string{stateKey(lane), viewKey(lane)} }

// State is what a lane is in.
type State int

// The states of a lane.
const (
	Open    State = iota
	Outage        // nothing comes back; nobody sends, for a moment
	Probing       // one task in the cluster tries whether the service is back
	Paused        // the service asked to wait
	Held          // the operator asked to wait
)

func (s State) String() string {
	names := [...]string{"open", "outage", "probing", "paused", "held"}
	if s < 0 || int(s) >= len(names) {
		return "state " + strconv.Itoa(int(s))
	}
	return names[s]
}

// Report is what one worker saw of a lane since its last one. Local makes it.
type Report struct {
	Worker string // unique per start of a process
	Epoch  int64  // of the last Grant; 0 for none

	Wants    int // tasks it would have in flight if it could, of its Slots
	InFlight int // and permits that rest after overload
	Slots    int
	Unused   int // tokens it has not used

	// Of requests of any epoch: replies that were no overload; and refusals, with those that
	// nobody answered, for people to see.
	Answered, Refused int

	// Of requests of Epoch:
	Samples    Samples
	Overloads  int
	RetryAfter time.Duration // the longest seen; 0 for none
	Age        time.Duration // of the request it answered
	Remaining  int           // of the service's quota; -1 where it does not say
	Reset      time.Duration // until the quota is full again
}

// Grant is a worker's lease of a lane, and how the lane is.
type Grant struct {
	Permits  int // tasks it may have in flight
	Epoch    int64
	Settle   time.Duration // for how long replies belong to the load before
	Tokens   int           // requests it may begin; -1: as many as it likes
	Rate     float64       // the lane's, per second; 0 for none
	Share    float64       // this worker's part of it
	Wait     time.Duration // nothing may begin for so long
	Limit    int           // the lane's
	State    State
	Base     time.Duration // the usual latency
	Ratio    float64       // latency against it
	Interval time.Duration // when to report next
	Lease    time.Duration // how long this holds

	// Why is what this call changed, in words, and From the limit before. It is empty for
	// all workers but the one whose call it was.
	Why  string
	From int
}

// kinds are the beginnings of what Why may be, each with its word.
var kinds = []struct{ begins, kind string }{
	{"overload", "overload"},
	{"its overload was not", "growth"},
	{"latency", "latency"},
	{"the service is slower", "latency"},
	{"the baseline", "latency"},
	{"no gain", "gain"},
	{"grows", "growth"},
	{"slow start", "growth"},
	{"probes", "growth"},
	{"the service asked", "throttled"},
	{"outage", "outage"},
	{"recovered", "recovery"},
	{"paused by the operator", "operator"},
	{"resumed by the operator", "operator"},
}

// Kind is Why in one word, of a few.
func (g Grant) Kind() string {
	for _, k := range kinds {
		if strings.HasPrefix(g.Why, k.begins) {
			return k.kind
		}
	}
	return "other"
}

// Sync reports to a lane's governor and returns what the worker is leased. Errors are
// those of Redis, ErrNewer and ErrConfig.
func Sync(ctx context.Context, rdb redis.UniversalClient, lane string, r Report) (Grant, error) {
	reply, err := syncScript.Run(ctx, rdb, syncKeys(lane), r.args()...).Slice()
	if err != nil {
		return Grant{}, fmt.Errorf("sync lane %q: %w", lane, known(err))
	}
	g, err := parseGrant(reply)
	if err != nil {
		return Grant{}, fmt.Errorf("sync lane %q: %w", lane, err)
	}
	return g, nil
}

func syncKeys(lane string) []string { return []string{stateKey(lane), viewKey(lane), configKey(lane)} }

// known turns the scripts' own errors into ours.
func known(err error) error {
	switch {
	case redis.HasErrorPrefix(err, "NEWER"):
		return fmt.Errorf("%w: %w", ErrNewer, err)
	case redis.HasErrorPrefix(err, "CONFIG"):
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return err
}

// OfLane says that an error is of the lane's own record; any other is one of Redis, of the
// connection, or of ctx.
func OfLane(err error) bool {
	return errors.Is(err, ErrNewer) || errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "WRONGTYPE") ||
		redis.HasErrorPrefix(err, "user_script") || redis.HasErrorPrefix(err, "Error running script")
}

// Remedy is what an operator can do about an error OfLane.
func Remedy(lane string, err error) string {
	if errors.Is(err, ErrConfig) {
		return "producer lane " + lane + " --max 0 takes its configuration away; with other flags it is configured anew"
	}
	if errors.Is(err, ErrNewer) {
		return "update this weir"
	}
	return "producer lane " + lane + " --reset forgets what was learned"
}

func (r Report) args() []any {
	sec := func(d time.Duration) string { return float(d.Seconds()) }
	return []any{r.Worker, r.Epoch, r.Wants, r.InFlight, r.Slots, r.Unused, r.Answered,
		r.Samples.N, r.Overloads, float(r.Samples.Sum), float(r.Samples.Squares), r.Samples.String(),
		sec(r.RetryAfter), sec(r.Age), r.Remaining, sec(r.Reset), r.Refused}
}

// float without an exponent, which the embedded Redis' Lua cannot read.
func float(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

var errReply = errors.New("not the reply of the lane's script")

// fields reads a script's reply: integers and strings, in order.
type fields struct {
	reply []any
	err   error
}

func (f *fields) next() any {
	if len(f.reply) == 0 {
		f.err = errReply
		return nil
	}
	v := f.reply[0]
	f.reply = f.reply[1:]
	return v
}

func (f *fields) int() int64 {
	n, ok := f.next().(int64)
	if !ok {
		f.err = errReply
	}
	return n
}

func (f *fields) text() string {
	s, ok := f.next().(string)
	if !ok {
		f.err = errReply
	}
	return s
}

func (f *fields) ms() time.Duration { return time.Duration(f.int()) * time.Millisecond }
func (f *fields) milli() float64    { return float64(f.int()) / 1000 }

func parseGrant(reply []any) (Grant, error) {
	f := &fields{reply: reply}
	g := Grant{
		Permits: int(f.int()), Epoch: f.int(), Settle: f.ms(), Tokens: int(f.int()), Rate: f.milli(), Share: f.milli(),
		Wait: f.ms(), Limit: int(f.int()), State: State(f.int()), Base: time.Duration(f.int()) * time.Microsecond,
		Ratio: f.milli(), Interval: f.ms(), Lease: f.ms(), Why: f.text(), From: int(f.int()),
	}
	return g, f.err
}

// Reset makes the governor forget a lane: its limit, its learned rate, its pause. What
// the operator configured stays.
func Reset(ctx context.Context, rdb redis.UniversalClient, lane string) error {
	if err := rdb.Del(ctx, Keys(lane)...).Err(); err != nil {
		return fmt.Errorf("reset lane %q: %w", lane, err)
	}
	return nil
}
