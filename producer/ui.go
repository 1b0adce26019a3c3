package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/ui"
)

type uiCmd struct {
	Addr     string   `help:"Address to listen on." default:"127.0.0.1:8080"`
	Host     []string `help:"Further host names under which the UI is reached." placeholder:"NAME"`
	Writable bool     `help:"Let the UI change things: pause queues, delete tasks. There is no login."`
}

func (u *uiCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "ui")
	if err != nil {
		return err
	}
	defer client.Close()
	handler, closeUI, err := ui.Handler(ui.Options{
		Redis: client.Redis(), Addr: u.Addr, Hosts: u.Host, ReadOnly: !u.Writable,
	})
	if err != nil {
		return err
	}
	defer closeUI()
	listener, err := net.Listen("tcp", u.Addr)
	if err != nil {
		return cli.UsageError("--addr %s: %w", u.Addr, err)
	}
	fmt.Fprintf(os.Stderr, "web UI on http://%s\n", listener.Addr())
	return ui.ServeOn(ctx, listener, handler)
}
