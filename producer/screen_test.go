package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/tasks"
)

// What is done is no failure because Redis is away when it is asked how the batch stands:
// its summary waits for that, or for Ctrl-C. After an error it does not wait.
func TestTheSummaryWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	client, err := weir.Open(t.Context(), weir.Options{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b, err := client.Begin(t.Context(), tasks.Square.Type(), weir.BatchOptions{Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.End()

	says, logs := io.Pipe()
	defer says.Close()
	lines := make(chan string, 100)
	go func() {
		for log := bufio.NewScanner(says); log.Scan(); {
			lines <- log.Text()
		}
	}()
	s := newScreen(&cli.Common{Redis: server.URL()}, true)
	s.open("b")
	s.log = slog.New(slog.NewTextHandler(logs, nil))
	server.Kill()
	ended := make(chan error, 1)
	conclude := func(ctx context.Context, err error) { ended <- s.conclude(ctx, client, "b", err) }
	waits := func() {
		t.Helper()
		select {
		case <-lines:
		case err := <-ended:
			t.Fatalf("it does not wait: %v", err)
		}
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	go conclude(ctx, nil)
	waits()
	interrupted := &cli.Status{Code: 130}
	cancel(interrupted)
	if err, status := <-ended, (*cli.Status)(nil); !errors.As(err, &status) || status.Code != interrupted.Code {
		t.Errorf("interrupted it ends with %v", err)
	}

	broken := errors.New("broken")
	go conclude(t.Context(), broken)
	select {
	case err := <-ended:
		if !errors.Is(err, broken) {
			t.Errorf("after an error it ends with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("after an error it waits")
	}

	go conclude(t.Context(), nil)
	waits()
	server.Restart()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
