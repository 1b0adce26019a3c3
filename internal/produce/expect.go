package produce

import (
	"context"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/source"
)

const (
	// expectEvery is how often others are told how many tasks are expected.
	expectEvery = 2 * time.Second
	// expectIn is how long that may take. Redis may be away: nobody looks then.
	expectIn = time.Second
)

// expect tells those who look at the batch about how many tasks it will have, until stop.
func (b *Batch) expect(ctx context.Context, src source.Source) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(expectEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			telling, done := context.WithTimeout(ctx, expectIn)
			err := b.p.Ledger.Expect(telling, b.o.Name, batch.Expected{N: source.Estimate(src), How: source.Basis(src)})
			done()
			if err != nil {
				b.p.Log.Debug("nobody is told how many tasks are expected", "batch", b.o.Name, "err", err)
			}
		}
	}()
	return func() { cancel(); <-gone }
}
