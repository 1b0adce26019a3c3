package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/story"
)

type explainCmd struct {
	Batch string `arg:"" help:"The batch's name."`
	Seq   int64  `arg:"" help:"The task's number in its batch, from 0."`
	JSON  bool   `name:"json" help:"As one JSON object."`
}

func (c *explainCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "explain")
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := story.Read(ctx, client.Redis(), batch.NewLedger(client.Redis()), c.Batch, c.Seq)
	switch {
	case errors.Is(err, story.ErrNoTask):
		return cli.UsageError("%w", err)
	case err != nil:
		return notFound(err)
	}
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		return out.Encode(s)
	}
	for _, line := range s.Lines() {
		if _, err := fmt.Println(line); err != nil {
			return err
		}
	}
	return nil
}

// textMost is how much of an error, or of words, is printed.
const textMost = 2000
