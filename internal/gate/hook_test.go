package gate

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// eachCommand is a hook that sees each command's arguments.
type eachCommand struct{ see func(args []any) }

func (h eachCommand) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h eachCommand) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.see(cmd.Args())
		return next(ctx, cmd)
	}
}

func (h eachCommand) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.see(cmd.Args())
		}
		return next(ctx, cmds)
	}
}

// failing is a hook that answers commands itself, with an error, before Redis sees
// them. Nil lets them pass.
type failing struct{ fail func(args []any) error }

func (h failing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := h.fail(cmd.Args()); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (h failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if err := h.fail(cmd.Args()); err != nil {
				for _, cmd := range cmds {
					cmd.SetErr(err)
				}
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// losing is a hook that loses the replies of commands that it picks: Redis has run them.
type losing struct{ lose func(args []any) bool }

func (h losing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h losing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && h.lose(cmd.Args()) {
			err = errors.New("connection reset by peer")
			cmd.SetErr(err)
		}
		return err
	}
}

func (h losing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
