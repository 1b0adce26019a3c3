package governor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// Format is the version of the keys' format. A newer one is refused.
	Format = 1

	// MaxPermits bounds limits, so that a slip of the finger does not pass for one.
	MaxPermits = 1_000_000

	// MaxRate bounds rates, per second.
	MaxRate = 1_000_000

	// MinRate is one task a day.
	MinRate = 1.0 / 86400

	// MaxRetryAfter is the longest a service is believed when it says "later".
	MaxRetryAfter = 24 * time.Hour
)

// ErrNewer reports that a newer version of weir wrote a lane's state or configuration.
var ErrNewer = errors.New("written by a newer version of weir")

// ErrConfig reports that a lane's configuration in Redis is not one.
var ErrConfig = errors.New("not a lane's configuration")

// Config is what the operator wants of a lane. The zero Config leaves all to the governor.
type Config struct {
	Max    int     // the most tasks in flight; 0: the workers' slots
	Min    int     // the fewest the limit falls to while the service answers; 0: 1
	Limit  int     // a fixed limit in place of an adaptive one; 0: adaptive
	Rate   float64 // the most requests a second; 0: none but what the service asks for
	Burst  int     // how many of those may come at once; 0: half a second's
	Paused bool
}

// Validate reports all that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		n    int
	}{{"max", c.Max}, {"min", c.Min}, {"limit", c.Limit}, {"burst", c.Burst}} {
		if f.n < 0 || f.n > MaxPermits {
			errs = append(errs, fmt.Errorf("%s %d: must be 0 (none) to %d", f.name, f.n, MaxPermits))
		}
	}
	if c.Rate != 0 && !(c.Rate >= MinRate && c.Rate <= MaxRate) {
		errs = append(errs, fmt.Errorf("rate %v/s: must be 0 (none), or 1/day to %d/s", c.Rate, MaxRate))
	}
	if c.Max > 0 && c.Min > c.Max {
		errs = append(errs, fmt.Errorf("min %d: above max %d; lower min, raise max, or take one away by 0", c.Min, c.Max))
	}
	if c.Limit > 0 && c.Max > 0 && c.Limit > c.Max {
		errs = append(errs, fmt.Errorf("limit %d: above max %d; lower limit, raise max, or take one away by 0", c.Limit, c.Max))
	}
	if c.Limit > 0 && c.Limit < c.Min {
		errs = append(errs, fmt.Errorf("limit %d: below min %d; raise limit, lower min, or take one away by 0", c.Limit, c.Min))
	}
	if c.Burst > 0 && c.Rate == 0 {
		errs = append(errs, fmt.Errorf("burst %d: needs a rate; set one, or no burst by 0", c.Burst))
	}
	return errors.Join(errs...)
}

// ParseRate reads "100/s", "1.5/s", "600/m", "1000/h", "5/day", "3/10s", or a number per
// second; "0" and "none" are no rate.
func ParseRate(s string) (float64, error) {
	bad := func(why string) (float64, error) {
		return 0, fmt.Errorf("rate %q: %s; write 100/s, 600/m, 1000/h or 3/10s", s, why)
	}
	count, per, found := strings.Cut(strings.TrimSpace(s), "/")
	if count == "none" && !found {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(count), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return bad("is not a number of tasks per time")
	}
	if n == 0 && !found {
		return 0, nil
	}
	if n <= 0 {
		return bad("must be above 0; none is no rate")
	}
	span := time.Second
	if found {
		if span, err = parseSpan(strings.TrimSpace(per)); err != nil {
			return bad(err.Error())
		}
	}
	rate := n / span.Seconds()
	if rate < MinRate || rate > MaxRate {
		return bad(fmt.Sprintf("is outside 1/day to %d/s", MaxRate))
	}
	return rate, nil
}

func parseSpan(s string) (time.Duration, error) {
	switch s {
	case "s", "sec", "second":
		return time.Second, nil
	case "m", "min", "minute":
		return time.Minute, nil
	case "h", "hour":
		return time.Hour, nil
	case "d", "day":
		return 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time", s)
	}
	if d <= 0 {
		return 0, fmt.Errorf("its time %q must be above 0", s)
	}
	return d, nil
}

// Channel is where workers hear that a lane was configured, or is no more.
const Channel = "weir:lanes"

// Configure sets what the operator wants of a lane, in all workers at their next Sync,
// in place of what was wanted before. It refuses to overwrite a newer version's.
func Configure(ctx context.Context, rdb redis.UniversalClient, lane string, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("configure lane %q: %w", lane, err)
	}
	if _, err := LoadConfig(ctx, rdb, lane); err != nil && !errors.Is(err, ErrConfig) {
		return fmt.Errorf("configure lane %q: %w", lane, err)
	}
	// The set first: a lane in it without a configuration is harmless.
	if err := rdb.SAdd(ctx, lanesKey, lane).Err(); err != nil {
		return fmt.Errorf("configure lane %q: %w", lane, err)
	}
	pipe := rdb.TxPipeline()
	pipe.Del(ctx, configKey(lane))
	pipe.HSet(ctx, configKey(lane), c.fields()...)
	pipe.Publish(ctx, Channel, lane)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("configure lane %q: %w", lane, err)
	}
	return nil
}

func (c Config) fields() []any {
	paused := 0
	if c.Paused {
		paused = 1
	}
	return []any{"format", Format, "max", c.Max, "min", c.Min, "limit", c.Limit,
		"rate", float(c.Rate), "burst", c.Burst, "paused", paused}
}

// LoadConfig is what the operator wants of a lane: the zero Config where nobody said.
// Errors are those of Redis, ErrNewer and ErrConfig.
func LoadConfig(ctx context.Context, rdb redis.UniversalClient, lane string) (Config, error) {
	return configOf(lane, rdb.HGetAll(ctx, configKey(lane)))
}

func configOf(lane string, cmd *redis.MapStringStringCmd) (Config, error) {
	h, err := cmd.Result()
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of lane %q: %w", lane, err)
	}
	c, err := parseConfig(h)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration of lane %q: %w", lane, err)
	}
	return c, nil
}

func parseConfig(h map[string]string) (Config, error) {
	if f, err := strconv.ParseFloat(h["format"], 64); err == nil && f > Format {
		return Config{}, ErrNewer
	}
	num := make(map[string]float64, len(h))
	for k, v := range h {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return Config{}, fmt.Errorf("%w: %s is %q", ErrConfig, k, v)
		}
		num[k] = f
	}
	c := Config{Max: int(num["max"]), Min: int(num["min"]), Limit: int(num["limit"]),
		Rate: num["rate"], Burst: int(num["burst"]), Paused: num["paused"] != 0}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

// Configured are the lanes that an operator has configured.
func Configured(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	names, err := rdb.SMembers(ctx, lanesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list configured lanes: %w", err)
	}
	return names, nil
}

// Unconfigure leaves a lane to the governor again.
func Unconfigure(ctx context.Context, rdb redis.UniversalClient, lane string) error {
	if err := rdb.Del(ctx, configKey(lane)).Err(); err != nil {
		return fmt.Errorf("unconfigure lane %q: %w", lane, err)
	}
	if err := rdb.SRem(ctx, lanesKey, lane).Err(); err != nil {
		return fmt.Errorf("unconfigure lane %q: %w", lane, err)
	}
	if err := rdb.Publish(ctx, Channel, lane).Err(); err != nil {
		return fmt.Errorf("tell workers of lane %q: %w", lane, err)
	}
	return nil
}
