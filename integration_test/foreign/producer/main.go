// Command producer has its arguments shouted.
package main

import (
	"context"
	"fmt"
	"os"

	"example.com/foreign/types"
	"github.com/weir-tasks/weir"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "producer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, words []string) error {
	client, err := weir.Open(ctx, weir.Options{URL: os.Getenv("REDIS_URL")})
	if err != nil {
		return err
	}
	defer client.Close()
	texts := func(yield func(types.Text) bool) {
		for _, word := range words {
			if !yield(types.Text{Text: word}) {
				return
			}
		}
	}
	for o, err := range weir.Run(ctx, client, types.Shout, texts, weir.BatchOptions{Ordered: true}) {
		if err != nil {
			return err
		}
		fmt.Println(o.Seq, o.State, o.Result.Text, o.Err)
	}
	return nil
}
