package ui

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// forAsynqmon is a client of the same Redis for asynqmon alone. asynq asks in a script how
// much memory a queue uses, by MEMORY USAGE of samples; managed Redis often forbids that,
// and its page about queues then answers 500. To this client such a queue uses 0 bytes. Nor
// does it read more of tasks' messages than there is room for.
// close is to be called when it is used no more.
func forAsynqmon(c redis.UniversalClient) (own redis.UniversalClient, close func() error) {
	switch c := c.(type) {
	case *redis.Client:
		// It shares c's connections, and is not closed.
		own := c.WithTimeout(c.Options().ReadTimeout)
		own.AddHook(noMemoryUsage{})
		own.AddHook(boundedMessages{})
		return own, func() error { return nil }
	case *redis.ClusterClient:
		own := redis.NewClusterClient(c.Options())
		own.AddHook(noMemoryUsage{})
		own.AddHook(boundedMessages{})
		return own, own.Close
	}
	return c, func() error { return nil }
}

// ofCommands is the rest of a hook that looks at single commands alone.
type ofCommands struct{}

func (ofCommands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (ofCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// noMemoryUsage makes asynq's question for the memory of a queue one of 0 bytes where
// Redis forbids it.
type noMemoryUsage struct{ ofCommands }

func (noMemoryUsage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if answer, ok := cmd.(*redis.Cmd); ok && forbidden(err) && asksForMemory(cmd.Args()) {
			answer.SetErr(nil)
			answer.SetVal(int64(0))
			return nil
		}
		return err
	}
}

// asksForMemory recognises asynq's script by its keys and arguments: the seven of a queue,
// and four.
func asksForMemory(args []any) bool {
	if len(args) != 3+7+4 {
		return false
	}
	name, _ := args[0].(string)
	first, _ := args[3].(string)
	last, _ := args[9].(string)
	return strings.HasPrefix(strings.ToLower(name), "eval") && strings.HasSuffix(first, ":active") && strings.HasSuffix(last, ":groups")
}

// forbidden says that a script was not let do something.
func forbidden(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	for _, said := range []string{"acl failure", "can't run this command", "unknown redis command", "unknown command", "noperm"} {
		if strings.Contains(text, said) {
			return true
		}
	}
	return false
}
