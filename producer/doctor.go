package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/doctor"
	"github.com/weir-tasks/weir/internal/report"
)

type doctorCmd struct {
	JSON bool `name:"json" help:"As one JSON object."`
}

// Run examines. It exits with 0 where nothing is worse than a warning, else with 1.
func (c *doctorCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "doctor"); err != nil {
		return err
	}
	found, err := examine(ctx, common)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		err = out.Encode(found)
	} else {
		err = printReport(os.Stdout, found)
	}
	if err == nil && found.Level == doctor.Problem {
		err = &cli.Status{Code: cli.SomeFailed}
	}
	return err
}

func examine(ctx context.Context, common *cli.Common) (*doctor.Report, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := weir.Open(waiting, weir.Options{URL: common.Redis, Unchecked: true})
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return doctor.Unreachable(err), nil
	}
	defer client.Close()
	return doctor.Examine(ctx, client)
}

func printReport(w io.Writer, r *doctor.Report) error {
	var text strings.Builder
	count := make(map[doctor.Level]int)
	for _, f := range r.Findings {
		count[f.Level]++
		fmt.Fprintf(&text, "%-8s %-10s %s\n", f.Level, f.Check, report.Clean(f.What, textMost))
		if f.Remedy != "" {
			fmt.Fprintf(&text, "%-8s %-10s %s\n", "", "  do:", report.Clean(f.Remedy, textMost))
		}
	}
	fmt.Fprintf(&text, "%d problems, %d warnings, %d checks without a finding\n", count[doctor.Problem], count[doctor.Warning], count[doctor.OK])
	_, err := io.WriteString(w, text.String())
	return err
}
