package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

type config struct {
	cli.Common
	Name            string        `help:"This worker's name in outcomes and logs. Started again under it after a crash, it has its tasks back at once." placeholder:"NAME"`
	Concurrency     int           `help:"Tasks run at once." default:"50" short:"c"`
	Lanes           []string      `help:"Serve these lanes only." placeholder:"LANE"`
	HTTP            string        `name:"http" help:"Serve metrics and health on this address." placeholder:"ADDR" env:"WEIR_HTTP"`
	ShutdownTimeout time.Duration `help:"How long running tasks may go on after the signal to stop." default:"8s" zero:"ok"`
	Egress          string        `help:"What http and ping tasks may connect to: public, which is the internet and no network beside it; any; or none, which is what --allow-net has alone." enum:"public,any,none" default:"public"`
	cli.Networks
	cli.Secrets
	cli.Results
	VerifyKeys       string `help:"Check signatures with the keys of this file, one a line: NAME BASE64. A task with a signature that does not fit is not run." placeholder:"FILE"`
	RequireSignature bool   `help:"Run no task without a signature that fits; needs --verify-keys."`
	cli.Commands
}

func parseConfig(args []string) (*config, error) {
	var c config
	if _, err := cli.Parse(&c, "worker", "Run tasks until told to stop.", args); err != nil {
		return nil, err
	}
	return &c, c.validate()
}

// validate reports all that is wrong at once.
func (c *config) validate() error {
	var errs []error
	if c.Redis == "" {
		errs = append(errs, errors.New("--redis URL is needed (or WEIR_REDIS): a worker on its own has nothing to do; `producer run` brings its own"))
	}
	if c.Name != "" {
		if err := batch.ValidName(c.Name); err != nil {
			errs = append(errs, fmt.Errorf("--name: %w", err))
		}
	}
	if c.Concurrency < 1 || c.Concurrency > 100_000 {
		errs = append(errs, fmt.Errorf("--concurrency %d: must be from 1 to 100000", c.Concurrency))
	}
	if c.RequireSignature && c.VerifyKeys == "" {
		errs = append(errs, errors.New("--require-signature needs --verify-keys FILE"))
	}
	if c.ShutdownTimeout < 0 {
		errs = append(errs, fmt.Errorf("--shutdown-timeout %v: must not be negative", c.ShutdownTimeout))
	}
	errs = append(errs, c.Restrict(new(work.Options), c.Egress), c.Reveal(new(work.Options)))
	for _, lane := range c.Lanes {
		if err := tasks.ValidLane(lane); err != nil {
			errs = append(errs, fmt.Errorf("--lanes: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &cli.Status{Code: cli.Usage, Err: err}
	}
	return nil
}
