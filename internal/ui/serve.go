package ui

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// stopTime is what requests in progress get when the server stops.
const stopTime = 5 * time.Second

// Serve serves h on ln, which it closes, until ctx is done; then it takes no new
// requests, lets those in progress finish within 5 s, and returns nil.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	server.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()

	select {
	case err := <-failed:
		return fmt.Errorf("serve the UI: %w", err)
	case <-ctx.Done():
	}
	// ctx is over; what is left of the work gets a deadline of its own.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // they had their time
	}
	<-failed
	if err != nil {
		return fmt.Errorf("stop the UI: %w", err)
	}
	return nil
}

// stoppingKey is under which requests find the channel that is closed when their server
// stops: those that would not end by themselves end then.
type stoppingKey struct{}

func stopping(r *http.Request) <-chan struct{} {
	c, _ := r.Context().Value(stoppingKey{}).(<-chan struct{})
	return c
}
