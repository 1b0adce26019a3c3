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
		cluster, err := work.Cluster(client.Redis())
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
			if err := out.Encode(jsonLane(o, cluster)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LANE\tSTATE\tWEIGHT\tLIMIT\tIN FLIGHT\tPENDING\tLATER\tRATE\tLATENCY\tWAITS FOR")
	for _, o := range all {
		j := jsonLane(o, cluster)
		limit, rate, latency := "-", "-", "-"
		if o.Governed != nil {
			limit = fmt.Sprint(j.Limit)
		}
		if j.Rate > 0 {
			rate = fmt.Sprintf("%.4g/s", j.Rate)
		}
		if j.BaseMS > 0 {
			latency = fmt.Sprintf("%.3g x %.3g ms", j.Ratio, j.BaseMS)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", j.Lane, j.State, j.Weight, limit, j.Active, j.Pending, j.Later, rate, latency, j.Waits)
	}
	return t.Flush()
}

// laneLine is a lane as --json has it. Rates are per second, times in milliseconds.
type laneLine struct {
	Lane     string        `json:"lane"`
	State    string        `json:"state"`
	Weight   int           `json:"weight"`
	Governed bool          `json:"governed"`
	Limit    int           `json:"limit"`
	Active   int64         `json:"in_flight"`
	Pending  int64         `json:"pending"`
	Later    int64         `json:"later"`
	Workers  int           `json:"workers"`
	Rate     float64       `json:"rate"`
	BaseMS   float64       `json:"base_ms"`
	Ratio    float64       `json:"latency_ratio"`
	PauseMS  int64         `json:"pause_ms"`
	Why      string        `json:"why"`
	Waits    string        `json:"waits"`
	Oldest   int64         `json:"oldest_ms"`
	Drain    *float64      `json:"drain_seconds"`
	Wanted   float64       `json:"workers_wanted"`
	Config   *laneSettings `json:"config,omitempty"`
}

type laneSettings struct {
	Max    int     `json:"max,omitempty"`
	Min    int     `json:"min,omitempty"`
	Limit  int     `json:"limit,omitempty"`
	Rate   float64 `json:"rate,omitempty"`
	Burst  int     `json:"burst,omitempty"`
	Paused bool    `json:"paused,omitempty"`
}

func jsonLane(o *lane.Overview, cluster lane.Cluster) laneLine {
	d := o.Demand(cluster, 0)
	j := laneLine{Lane: o.Name, State: "open", Weight: o.Weight, Active: o.InFlight(), Pending: o.Pending, Later: o.Later, Waits: o.Waits(),
		Oldest: o.Oldest.Milliseconds(), Drain: d.Drain, Wanted: d.Workers}
	if o.Config.Paused {
		j.State = governor.Held.String()
	}
	if o.Config != (governor.Config{}) {
		s := laneSettings(o.Config)
		j.Config = &s
	}
	if g := o.Governed; g != nil {
		j.Governed, j.State, j.Limit, j.Workers, j.Rate = true, g.State.String(), g.Limit, g.Workers, g.Rate
		j.BaseMS, j.Ratio, j.PauseMS, j.Why = float64(g.Base.Microseconds())/1000, g.Ratio, g.Wait.Milliseconds(), g.Why
	}
	return j
}

type laneCmd struct {
	Name   string  `arg:"" help:"The lane."`
	Rate   *string `env:"-" help:"The most requests, in all workers: 100/s, 600/m, 1000/h; none takes it away." placeholder:"N/TIME"`
	Burst  *int    `env:"-" help:"How many of those may come at once; 0 takes it away." placeholder:"N"`
	Max    *int    `env:"-" help:"The most in flight that the limit may rise to; 0 takes it away." placeholder:"N"`
	Min    *int    `env:"-" help:"The fewest in flight that the limit may fall to; 0 takes it away." placeholder:"N"`
	Limit  *int    `env:"-" help:"A fixed limit of tasks in flight instead of one that adapts; 0 takes it away." placeholder:"N"`
	Weight *int    `env:"-" help:"How many tasks a worker with too few slots takes of this lane for each one of a lane of weight 1: 1 to 100, default 1." placeholder:"N"`
	Pause  bool    `env:"-" help:"Let no task of the lane begin." xor:"pause"`
	Resume bool    `env:"-" help:"End --pause." xor:"pause"`
	Reset  bool    `env:"-" help:"Forget what was learned of the service: the limit begins anew."`
}

func (c *laneCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := tasks.ValidLane(c.Name); err != nil {
		return cli.UsageError("%w", err)
	}
	var rate float64
	if c.Rate != nil {
		var err error
		if rate, err = governor.ParseRate(*c.Rate); err != nil {
			return cli.UsageError("--rate: %w", err)
		}
	}
	if c.Weight != nil {
		if err := lane.ValidWeight(*c.Weight); err != nil {
			return cli.UsageError("--%w", err)
		}
	}
	client, err := connected(ctx, common, "lane")
	if err != nil {
		return err
	}
	defer client.Close()
	if err := c.change(ctx, client.Redis(), rate); err != nil {
		return err
	}
	o, err := client.Lane(ctx, c.Name)
	if errors.Is(err, lane.ErrUnknown) {
		return cli.UsageError("%w in this Redis; producer lanes lists all", err)
	}
	if err != nil {
		return err
	}
	return printLanes(os.Stdout, []*lane.Overview{o}, false, lane.Cluster{})
}

// change does what the flags say.
func (c *laneCmd) change(ctx context.Context, rdb redis.UniversalClient, rate float64) error {
	conf, err := governor.LoadConfig(ctx, rdb, c.Name)
	if err != nil && !errors.Is(err, governor.ErrConfig) {
		return err
	}
	before := conf
	for _, f := range []struct {
		flag  *int
		field *int
	}{{c.Burst, &conf.Burst}, {c.Max, &conf.Max}, {c.Min, &conf.Min}, {c.Limit, &conf.Limit}} {
		if f.flag != nil {
			*f.field = *f.flag
		}
	}
	if c.Rate != nil {
		conf.Rate = rate
	}
	if conf.Rate == 0 && c.Burst == nil {
		conf.Burst = 0
	}
	conf.Paused = (conf.Paused || c.Pause) && !c.Resume
	if err := conf.Validate(); err != nil {
		return cli.UsageError("lane %q: %w", c.Name, err)
	}
	switch {
	case conf == before:
	case conf == (governor.Config{}):
		if err := governor.Unconfigure(ctx, rdb, c.Name); err != nil {
			return err
		}
	default:
		if err := governor.Configure(ctx, rdb, c.Name, conf); err != nil {
			return err
		}
	}
	if c.Weight != nil {
		if err := lane.SetWeight(ctx, rdb, c.Name, *c.Weight); err != nil {
			return err
		}
	}
	if c.Reset {
		return governor.Reset(ctx, rdb, c.Name)
	}
	return nil
}
