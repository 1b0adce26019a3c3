// Command worker runs tasks until it is told to stop.
package main

import (
	"context"
	"os"

	"github.com/weir-tasks/weir/internal/cli"
)

func main() {
	cli.Main("worker", func(ctx context.Context) error {
		c, err := parseConfig(os.Args[1:])
		if err != nil {
			return err
		}
		return run(ctx, c)
	})
}
