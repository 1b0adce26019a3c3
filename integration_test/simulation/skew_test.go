package simulation

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// skewed is a client's hook for a machine whose clock is off: it moves every time that
// the machine tells Redis, which is a number near now in seconds, milliseconds,
// microseconds or nanoseconds. Times that it has from Redis are strings, and stay.
type skewed time.Duration

func (s skewed) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (s skewed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.move(cmd.Args())
		return next(ctx, cmd)
	}
}

func (s skewed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			s.move(cmd.Args())
		}
		return next(ctx, cmds)
	}
}

func (s skewed) move(args []any) {
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			args[i] = v + s.shift(v)
		case float64:
			args[i] = v + float64(s.shift(int64(v)))
		}
	}
}

// shift is how much a number is off, if it is a time.
func (s skewed) shift(v int64) int64 {
	now := time.Now()
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond, time.Nanosecond} {
		if at := now.UnixNano() / int64(unit); v > at-int64(24*time.Hour/unit) && v < at+int64(24*time.Hour*100/unit) {
			return int64(time.Duration(s) / unit)
		}
	}
	return 0
}
