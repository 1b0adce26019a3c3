package conn

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

const (
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
	// A frozen Redis accepts connections and stays silent; go-redis would wait
	// through all its retries.
	pingTimeout = 5 * time.Second
)

// Ready pings until Redis answers (a cluster: until all its slots are served)
// or ctx ends. On each failure it calls notify, which may be nil, with an
// *Error and the wait until the next try.
//
// Errors: an *Error; with Permanent set when waiting could not mend it, else
// the last one seen, which then also Is the cause of ctx' end.
func Ready(ctx context.Context, c redis.UniversalClient, rawURL string, notify func(err error, next time.Duration)) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := ping(ctx, c)
		if err == nil {
			return struct{}{}, nil
		}
		if ctx.Err() == nil || last == nil {
			// Not the error that our own end of ctx brought about.
			if told := tlsRefusal(ctx, err, rawURL); told != nil {
				err = told
			}
			last = Explain(err, rawURL)
		}
		if Permanent(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: firstWait, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: longWait,
		}),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			if notify != nil {
				notify(err, next)
			}
		}))
	if err == nil || Permanent(err) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && last != nil {
		return fmt.Errorf("%w (gave up: %w)", last, cause)
	}
	return err
}

func ping(ctx context.Context, c redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := c.Ping(ctx).Err(); err != nil {
		return err
	}
	cc, ok := c.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	// A node answers PING long before it knows who serves the slots, and each
	// knows it at another time.
	return cc.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := node.ClusterInfo(ctx).Result()
		if err == nil && strings.Contains(info, "cluster_state:fail") {
			err = redisError("CLUSTERDOWN The cluster is down: not all slots are served")
		}
		return err
	})
}

// redisError is an answer that Redis would give to the next command.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}
