package ui

import (
	"context"
	_ "embed"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/within.lua
var withinSrc string

// readsTask is how asynq's scripts read a task's message.
var readsTask = regexp.MustCompile(`redis\.call\("HMGET", (\S+), "msg"`)

// monPageMost is how many tasks a page of asynqmon has at most: one script in Redis reads all
// of a page.
const monPageMost = 1000

// boundedPages lets no request ask for more; of size 0 a page would have all tasks.
func boundedPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if n, err := strconv.Atoi(q.Get("size")); err == nil && (n < 1 || n > monPageMost) { // else it is asynqmon's own
			q.Set("size", strconv.Itoa(min(max(n, 1), monPageMost)))
			r = r.Clone(r.Context())
			r.URL.RawQuery = q.Encode()
		}
		next.ServeHTTP(w, r)
	})
}

// boundedMessages makes asynq's scripts that read tasks read so much of them as a process has
// room for: asynq itself reads the messages of a page whole, and a request says how many
// tasks a page has. No script is called by its hash, since what it is cannot be seen then.
type boundedMessages struct{ ofCommands }

func (boundedMessages) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		switch strings.ToLower(cmd.Name()) {
		case "evalsha":
			return redis.ErrNoScript // asynq comes again with the script itself
		case "eval":
			args := cmd.Args()
			if src, ok := args[1].(string); ok && readsTask.MatchString(src) {
				args[1] = withinSrc + readsTask.ReplaceAllString(src, `within($1, "msg"`)
			}
		}
		return next(ctx, cmd)
	}
}
