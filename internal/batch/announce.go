package batch

import (
	"context"
	"fmt"
	"strings"
)

// announceChannel is where workers hear that a batch's attempts are to be cut off.
// A lost message costs time only: the ledger rules.
const announceChannel = "weir:end"

// Ending is why a batch's attempts are cut off.
type Ending string

// The endings that are announced.
const (
	EndCancelled Ending = "cancelled"
	EndStopped   Ending = "stopped"
)

// Announce tells all workers to cut off the attempts of a batch.
func (l *Ledger) Announce(ctx context.Context, name string, end Ending) error {
	if err := l.rdb.Publish(ctx, announceChannel, string(end)+" "+name).Err(); err != nil {
		return fmt.Errorf("announce that batch %q is %s: %w", name, end, err)
	}
	return nil
}

// Listen calls heard for each announcement until ctx ends.
func (l *Ledger) Listen(ctx context.Context, heard func(name string, end Ending)) {
	sub := l.rdb.Subscribe(ctx, announceChannel)
	defer sub.Close()
	messages := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			if end, name, ok := strings.Cut(m.Payload, " "); ok {
				heard(name, Ending(end))
			}
		}
	}
}
