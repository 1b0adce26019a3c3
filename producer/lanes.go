package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

type lanesCmd struct {
	Watch bool `help:"Again every second, until interrupted."`
	JSON  bool `name:"json" help:"One JSON object a lane."`
}

func (c *lanesCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "lanes")
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		all, err := client.Lanes(ctx)
		if err != nil {
			return err
		}
		cluster, err := work.Cluster(ctx, client.Redis())
		if err != nil {
			return err
		}
		if err := printLanes(os.Stdout, all, c.JSON, cluster); err != nil {
			return err
		}
		if len(all) == 0 && !c.JSON {
			fmt.Fprintln(os.Stderr, "no lanes: nothing was enqueued yet")
		}
		if !c.Watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func printLanes(w io.Writer, all []*lane.Overview, asJSON bool, cluster lane.Cluster) error {
	if asJSON {
		out := json.NewEncoder(w)
		for _, o := range all {
			if err := out.Encode(o.Line(cluster)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LANE\tSTATE\tWEIGHT\tSHARDS\tLIMIT\tIN FLIGHT\tPENDING\tLATER\tRATE\tLATENCY\tERRORS\tWAITS FOR")
	for _, o := range all {
		j := o.Line(cluster)
		limit, rate, latency, failing := "-", "-", "-", "-"
		if o.Governed != nil {
			limit, failing = fmt.Sprint(j.Limit), fmt.Sprintf("%.1f%%", 100*j.Errors)
		}
		if j.Rate > 0 {
			rate = fmt.Sprintf("%.4g/s", j.Rate)
		}
		if j.BaseMS > 0 {
			latency = fmt.Sprintf("%.3g x %.3g ms", j.Ratio, j.BaseMS)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", j.Lane, j.State, j.Weight, j.Shards, limit, j.Active, j.Pending, j.Later, rate, latency, failing, j.Waits)
	}
	return t.Flush()
}

type laneCmd struct {
	Name   string  `arg:"" help:"The lane."`
	Rate   *string `env:"-" help:"The most requests, in all workers: 100/s, 600/m, 1000/h; none takes it away." placeholder:"N/TIME"`
	Burst  *int    `env:"-" help:"How many of those may come at once; 0 takes it away." placeholder:"N"`
	Max    *int    `env:"-" help:"The most in flight that the limit may rise to; 0 takes it away." placeholder:"N"`
	Min    *int    `env:"-" help:"The fewest in flight that the limit may fall to; 0 takes it away." placeholder:"N"`
	Limit  *int    `env:"-" help:"A fixed limit of tasks in flight instead of one that adapts; 0 takes it away." placeholder:"N"`
	Weight *int    `env:"-" help:"How many tasks a worker with too few slots takes of this lane for each one of a lane of weight 1: 1 to 100, default 1." placeholder:"N"`
	Shards *int    `env:"-" help:"Over how many queues its tasks are spread: 1 to 64, default 1." placeholder:"N"`
	Pause  bool    `env:"-" help:"Let no task of the lane begin." xor:"pause"`
	Resume bool    `env:"-" help:"End --pause." xor:"pause"`
	Reset  bool    `env:"-" help:"Forget what was learned of the service: the limit begins anew."`
}

func (c *laneCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := tasks.ValidLane(c.Name); err != nil {
		return cli.UsageError("%w", err)
	}
	change := lane.Change{Burst: c.Burst, Max: c.Max, Min: c.Min, Limit: c.Limit, Weight: c.Weight, Shards: c.Shards,
		Pause: c.Pause, Resume: c.Resume, Reset: c.Reset}
	if c.Rate != nil {
		rate, err := governor.ParseRate(*c.Rate)
		if err != nil {
			return cli.UsageError("--%w", err)
		}
		change.Rate = &rate
	}
	client, err := connected(ctx, common, "lane")
	if err != nil {
		return err
	}
	defer client.Close()
	o, err := client.Lane(ctx, c.Name)
	before := !errors.Is(err, lane.ErrUnknown)
	if before && err != nil {
		return err
	}
	if change != (lane.Change{}) {
		if err := c.apply(ctx, client.Redis(), &change); err != nil {
			return err
		}
		o, err = client.Lane(ctx, c.Name)
	}
	switch unknown := errors.Is(err, lane.ErrUnknown); {
	case unknown && before:
		fmt.Fprintf(os.Stderr, "lane %q: nothing is set, and no task and no worker knows it\n", c.Name)
		return nil
	case unknown:
		return cli.UsageError("%w in this Redis; producer lanes lists all", err)
	case err != nil:
		return err
	case !before:
		fmt.Fprintf(os.Stderr, "lane %q: no task and no worker knows it yet; what is set holds from its first task on; producer lanes lists all\n", c.Name)
	}
	return printLanes(os.Stdout, []*lane.Overview{o}, false, lane.Cluster{})
}

func (c *laneCmd) apply(ctx context.Context, rdb redis.UniversalClient, change *lane.Change) error {
	err := change.Apply(ctx, rdb, c.Name)
	var refused *lane.RefusedError
	switch {
	case errors.As(err, &refused):
		return cli.UsageError("%w", byFlag(refused.Err))
	case errors.Is(err, governor.ErrNewer):
		return cli.UsageError("%w; update this weir to change it", err)
	}
	return err
}

// byFlag is errors that begin with the names of settings, which the flags have too.
func byFlag(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("--%w", err)
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, fmt.Errorf("--%w", one))
	}
	return errors.Join(all...)
}
