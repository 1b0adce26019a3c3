package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/ui"
)

type uiCmd struct {
	signFlags
	Addr     string   `help:"Address to listen on." default:"127.0.0.1:8080"`
	Host     []string `help:"Further host names under which the UI is reached." placeholder:"NAME"`
	Actions  string   `help:"Let the UI cancel, pause, resume and retry batches and set lanes: on, off, or auto, which is on where only this host reaches the address. There is no login." enum:"auto,on,off" default:"auto"`
	Writable bool     `help:"Let asynqmon, under /asynq/, change things too: pause queues, delete tasks."`
}

func (u *uiCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "ui"); err != nil {
		return err
	}
	client, err := newScreen(common, false).connectSigning(ctx, &u.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	served, err := u.listen(client)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "web UI on http://%s\n", served.Addr())
	return served.serve(ctx)
}

// served is a UI that is about to be served.
type served struct {
	net.Listener
	serve func(context.Context) error // until its context ends
}

func (u *uiCmd) listen(client *weir.Client) (*served, error) {
	listener, err := net.Listen("tcp", u.Addr)
	if err != nil {
		return nil, cli.UsageError("the web UI's address %s: %w", u.Addr, err)
	}
	handler, closeUI, err := ui.Handler(ui.Options{
		Weir: client, Addr: u.Addr, Hosts: u.Host, Writable: u.Writable,
		Actions: u.Actions == "on" || u.Actions != "off" && onlyHere(listener.Addr()),
		Retry:   retrying(client),
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &served{listener, func(ctx context.Context) error {
		err := ui.ServeOn(ctx, listener, handler)
		return errors.Join(err, closeUI())
	}}, nil
}

// onlyHere says that nobody but this host reaches an address.
func onlyHere(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// serveBeside serves the UI while a batch is run; stop ends that.
func serveBeside(ctx context.Context, s *screen, client *weir.Client, addr string) (stop func(), err error) {
	served, err := (&uiCmd{Addr: addr}).listen(client)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "web UI on http://%s\n", served.Addr())
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it shows how the batch is stopped, too
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if err := served.serve(ctx); err != nil {
			s.log.Warn("the web UI ended", "err", err)
		}
	}()
	return func() { cancel(); <-gone }, nil
}
