package produce

import (
	"context"
	"errors"
	"fmt"
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

// awaitLease waits as long as a dead producer's lease may last.
func (b *Batch) awaitLease(ctx context.Context) error {
	deadline := time.Now().Add(leaseLength + time.Second)
	for told := false; ; told = true {
		holder, err := b.tryLease(ctx, b.o.Name)
		if err != nil || holder == "" {
			return err
		}
		if aliveHere(holder) || time.Now().After(deadline) {
			return &InUseError{b.o.Name, fmt.Sprintf("producer %s feeds it now", processOf(holder))}
		}
		if !told {
			b.p.Log.Info("waiting for the lease of the batch's last producer", "batch", b.o.Name, "producer", processOf(holder))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
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
	pid, ok := pidHere(id)
	return ok && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// aliveHere says that a producer's process is on this host and lives.
func aliveHere(id string) bool {
	pid, ok := pidHere(id)
	return ok && syscall.Kill(pid, 0) == nil
}

func pidHere(id string) (pid int, ok bool) {
	host, num, ok := strings.Cut(processOf(id), ":")
	if mine, err := os.Hostname(); err != nil || !ok || host != mine {
		return 0, false
	}
	pid, err := strconv.Atoi(num)
	return pid, err == nil && pid > 0
}
