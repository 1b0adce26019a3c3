package produce

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	leaseLength = 10 * time.Second
	leaseRenew  = 3 * time.Second
)

// ErrLeaseLost says that another producer feeds the batch now.
var ErrLeaseLost = errors.New("another producer has taken the batch over")

// tryLease returns "" when this process is the batch's producer now, else who is.
// A holder on this host whose process is gone does not count.
func (b *Batch) tryLease(ctx context.Context, name string) (holder string, err error) {
	holder, err = b.p.Ledger.Lease(ctx, name, b.p.ID, "", leaseLength)
	if err != nil || holder == "" || !deadHere(holder) {
		return holder, err
	}
	return b.p.Ledger.Lease(ctx, name, b.p.ID, holder, leaseLength)
}

// awaitLease waits until the lease is ours, or is seen to be renewed: then its
// holder lives and is returned. After an error it is not ours, also where the answer to
// a call that took it was not waited for.
func (b *Batch) awaitLease(ctx context.Context, name string) (holder string, err error) {
	defer func() {
		if err != nil {
			b.giveLeaseBack(name)
		}
	}()
	last := leaseLength
	for told := false; ; told = true {
		holder, err := b.tryLease(ctx, name)
		if err != nil || holder == "" {
			return "", err
		}
		left, err := b.p.Ledger.LeaseLeft(ctx, name)
		if err != nil {
			return "", err
		}
		if told && left > last {
			return holder, nil
		}
		last = left
		if !told {
			b.p.Log.Info("somebody has been feeding the batch; waiting to see whether they still do", "batch", name, "producer", processOf(holder))
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *Batch) giveLeaseBack(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := b.p.Ledger.Release(ctx, name, b.p.ID); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.p.Log.Debug("give the producer's lease back", "batch", name, "err", err)
	}
}

// keepLease renews the lease until End. When it is lost, lost is closed.
func (b *Batch) keepLease() {
	ctx, cancel := context.WithCancel(context.Background())
	b.release = cancel
	b.keeper.Go(func() {
		tick := time.NewTicker(leaseRenew)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			holder, err := b.p.Ledger.Lease(ctx, b.o.Name, b.p.ID, "", leaseLength)
			if err == nil && holder != "" {
				close(b.lost)
				return
			}
		}
	})
}

// ID names a producer: host, process, and what tells two apart in one process.
func ID(process string) string { return process + "/" + random() }

func processOf(id string) string {
	process, _, _ := strings.Cut(id, "/")
	return process
}

// deadHere says that a producer's process was on this host and is gone.
func deadHere(id string) bool {
	host, num, ok := strings.Cut(processOf(id), ":")
	if mine, err := os.Hostname(); err != nil || !ok || host != mine {
		return false
	}
	pid, err := strconv.Atoi(num)
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
