package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/top"
	"github.com/weir-tasks/weir/internal/ui"
)

type topCmd struct {
	View string `help:"What to begin with: batches, lanes, workers or redis." default:"batches" enum:"batches,lanes,workers,redis"`
	Once bool   `help:"Print one picture, and leave."`
}

func (c *topCmd) Run(ctx context.Context, common *cli.Common) error {
	if !c.Once && !(term.IsTerminal(int(os.Stdout.Fd())) && term.IsTerminal(int(os.Stdin.Fd()))) {
		return cli.UsageError("top needs a terminal; --once prints one picture")
	}
	client, err := connected(ctx, common, "top")
	if err != nil {
		return err
	}
	defer client.Close()
	look := ui.NewLook(client)
	defer look.Close()
	if c.Once {
		return printOnce(ctx, look, c.View)
	}
	return c.watch(ctx, look)
}

// watch shows the screen until the user leaves.
func (c *topCmd) watch(ctx context.Context, look *ui.Look) error {
	conn.LogTo(slog.New(slog.DiscardHandler)) // what is wrong the screen shows
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := tea.NewProgram(top.New(reading, look, c.View), tea.WithContext(ctx), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// onceLines is how many lines a picture may have that is printed where there is no screen.
const onceLines = 60

func printOnce(ctx context.Context, look *ui.Look, view string) error {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width, height = 120, onceLines
	}
	frame, err := top.Once(ctx, look, view, width, height)
	if err != nil {
		return err
	}
	_, err = fmt.Print(frame)
	return err
}
