package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/ui"
)

type uiCmd struct {
	signFlags
	httpFlags
	Addr     string   `help:"Address to listen on." default:"127.0.0.1:8080"`
	Host     []string `help:"Further host names under which the UI is reached." placeholder:"NAME"`
	Login    string   `help:"File of who may use the UI, lines of NAME:PASSWORD or bearer tokens; needed where others reach the address. \"none\" says that something in front lets nobody else in." placeholder:"FILE"`
	TLSCert  string   `name:"tls-cert" help:"Certificate to serve the UI with, in PEM; read again when it changes." placeholder:"FILE"`
	TLSKey   string   `name:"tls-key" help:"Its private key." placeholder:"FILE"`
	Proxied  bool     `name:"behind-proxy" help:"Serve without TLS where others reach the address: a proxy in front of it has TLS."`
	Actions  string   `help:"Let the UI cancel, pause, resume and retry batches and set lanes: on, off, or auto, which is on with a login and where only this host reaches the address." enum:"auto,on,off" default:"auto"`
	Writable bool     `help:"Let asynqmon, under /asynq/, change things too: pause queues, delete tasks."`
}

func (u *uiCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "ui"); err != nil {
		return err
	}
	s := newScreen(common, false)
	client, err := s.connectSigning(ctx, &u.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	stop, err := u.serveMetrics(s, client)
	if err != nil {
		return err
	}
	defer stop()
	served, err := u.listen(client)
	if err != nil {
		return err
	}
	served.announce()
	return served.serve(ctx)
}

// served is a UI that is about to be served.
type served struct {
	net.Listener
	scheme string
	serve  func(context.Context) error // until its context ends
}

func (s *served) announce() { fmt.Fprintf(os.Stderr, "web UI on %s://%s\n", s.scheme, s.Addr()) }

func (u *uiCmd) listen(client *weir.Client) (*served, error) {
	listener, err := net.Listen("tcp", u.Addr)
	if err != nil {
		return nil, cli.UsageError("the web UI's address %s: %w", u.Addr, err)
	}
	s, err := u.on(listener, client)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

// on is the UI on a listener, with the login and the TLS that the address needs.
func (u *uiCmd) on(listener net.Listener, client *weir.Client) (*served, error) {
	here := onlyHere(listener.Addr())
	logins, err := u.logins(here)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	switch {
	case u.TLSCert != "" || u.TLSKey != "":
		config, err := certified(u.TLSCert, u.TLSKey)
		if err != nil {
			return nil, err
		}
		listener, scheme = tls.NewListener(listener, config), "https"
	case !here && !u.Proxied:
		return nil, cli.UsageError("the web UI's address %s is reached by others, who could read along: serve TLS by --tls-cert and --tls-key, or say --behind-proxy where a proxy in front does", u.Addr)
	}
	handler, closeUI, err := ui.Handler(ui.Options{
		Weir: client, Addr: u.Addr, Hosts: u.Host, Logins: logins, Writable: u.Writable,
		Actions: u.Actions == "on" || u.Actions != "off" && (here || logins != nil),
		Retry:   retrying(client),
	})
	if err != nil {
		return nil, err
	}
	return &served{listener, scheme, func(ctx context.Context) error {
		err := ui.Serve(ctx, listener, handler)
		return errors.Join(err, closeUI())
	}}, nil
}

func (u *uiCmd) logins(here bool) (*ui.Logins, error) {
	switch {
	case u.Login == "" && !here:
		return nil, cli.UsageError("the web UI's address %s is reached by others: say who may use it by --login FILE, with lines of NAME:PASSWORD, or --login none where something in front lets nobody else in", u.Addr)
	case u.Login == "" || u.Login == "none":
		return nil, nil
	}
	logins, err := ui.ReadLogins(u.Login)
	if err != nil {
		return nil, cli.UsageError("--login: %w", err)
	}
	return logins, nil
}

// certified serves with a certificate that is read anew at each handshake: it may be renewed
// while this process runs.
func certified(cert, key string) (*tls.Config, error) {
	if cert == "" || key == "" {
		return nil, cli.UsageError("--tls-cert and --tls-key go together")
	}
	read := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	first, err := read()
	if err != nil {
		return nil, cli.UsageError("--tls-cert, --tls-key: %w", err)
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(first)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair, err := read(); err == nil { // else it is being written
				last.Store(pair)
			}
			return last.Load(), nil
		},
	}, nil
}

// onlyHere says that nobody but this host reaches an address.
func onlyHere(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// serveBeside serves the UI while a batch is run; stop ends that.
func serveBeside(ctx context.Context, s *screen, client *weir.Client, addr string) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, cli.UsageError("the web UI's address %s: %w", addr, err)
	}
	if !onlyHere(listener.Addr()) {
		return nil, errors.Join(listener.Close(), cli.UsageError("--ui %s: is reached by others; give an address of loopback, such as 127.0.0.1:8080, or start producer ui beside, which has a login and TLS", addr))
	}
	served, err := (&uiCmd{Addr: addr}).on(listener, client)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	served.announce()
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
