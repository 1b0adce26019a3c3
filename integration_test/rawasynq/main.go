// Command rawasynq is a worker of asynq alone, as its documentation has it: what weir is
// measured beside.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: rawasynq REDIS-ADDRESS LOG DURATION: notes each task's payload in LOG, and takes DURATION for it")
	}
	takes, err := time.ParseDuration(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	journal, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	s := asynq.NewServer(asynq.RedisClientOpt{Addr: os.Args[1]}, asynq.Config{Concurrency: 2})
	err = s.Run(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		if _, err := fmt.Fprintf(journal, "%s %d %d\n", t.Payload(), os.Getpid(), time.Now().UnixNano()); err != nil {
			return err
		}
		select {
		case <-time.After(takes):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
}
