// Command producer begins batches, follows them, and shows and ends them.
package main

import (
	"context"
	"os"

	"github.com/weir-tasks/weir/internal/cli"
)

func main() {
	cli.Main("producer", func(ctx context.Context) error {
		c, err := parseConfig(os.Args[1:])
		if err != nil {
			return err
		}
		return c.run(ctx)
	})
}
