package work

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

var (
	//go:embed lua/name.lua
	nameSrc    string
	nameScript = redis.NewScript(nameSrc)
)

const (
	// nameBeat is how often the holder of a name says that it lives.
	nameBeat = time.Second
	// namePatience is how long a newcomer waits for a beat. No clock is compared.
	namePatience = 3500 * time.Millisecond
	// nameKept is how long a dead worker's tasks can be told by its name.
	nameKept = time.Hour
)

// Name is how this process calls itself in outcomes and leases.
func Name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// NameTakenError says that a living worker has the name.
type NameTakenError struct{ Name, Holder string }

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("another worker, %s, runs under the name %q: give this one another --name", e.Holder, e.Name)
}

// named is a worker's hold on its name: Redis knows the mark of its leases by it, so
// that the next worker of the name can tell which tasks were this one's.
type named struct {
	rdb  redis.UniversalClient
	name string
	id   string // this process
	mark queue.Mark
	log  *slog.Logger
	lost bool
}

func newNamed(rdb redis.UniversalClient, name string, mark queue.Mark, log *slog.Logger) *named {
	return &named{rdb: rdb, name: name, id: fmt.Sprintf("%s:%08x", Name(), rand.Uint32()), mark: mark, log: log}
}

type holder struct {
	id   string
	beat int64
	mark queue.Mark
}

func (h *holder) String() string { return fmt.Sprintf("%s %d", h.id, h.beat) }

func (n *named) call(ctx context.Context, keep time.Duration, dead string) (holder, error) {
	r, err := nameScript.Run(ctx, n.rdb, []string{"weir:worker:" + n.name}, n.id, uint32(n.mark), keep.Milliseconds(), dead).Slice()
	if err != nil || len(r) != 3 {
		return holder{}, fmt.Errorf("take the name %q: %w", n.name, errors.Join(err))
	}
	var h holder
	h.id, _ = r[0].(string)
	h.beat, _ = r[1].(int64)
	mark, _ := r[2].(int64)
	h.mark = queue.Mark(mark)
	return h, nil
}

// take takes the name, and tells the mark of a dead worker that had it, or 0. A
// *NameTakenError if a living one has it.
func (n *named) take(ctx context.Context) (before queue.Mark, err error) {
	h, err := n.call(ctx, nameKept, "")
	for first := h; err == nil && h.id != ""; {
		if h.id != first.id || h.beat != first.beat {
			return 0, &NameTakenError{n.name, processOf(h.id)}
		}
		if !deadHere(h.id) {
			select {
			case <-time.After(namePatience):
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		h, err = n.call(ctx, nameKept, first.String())
	}
	return h.mark, err
}

// run keeps the name until ctx ends, and gives it up then.
func (n *named) run(ctx context.Context) {
	tick := time.NewTicker(nameBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_, _ = n.call(ctx, 0, "") // else it is found to be dead
			return
		case <-tick.C:
		}
		h, err := n.call(ctx, nameKept, "")
		if err == nil && h.id != "" && !n.lost {
			n.lost = true
			n.log.Error("another worker has taken this one's name, for dead; both go on", "name", n.name, "other", processOf(h.id))
		}
	}
}

// processOf is the host:pid of a holder.
func processOf(id string) string { return id[:max(strings.LastIndexByte(id, ':'), 0)] }

// deadHere says that a holder's process was on this host and is gone.
func deadHere(id string) bool {
	host, num, ok := strings.Cut(processOf(id), ":")
	if mine, err := os.Hostname(); err != nil || !ok || host != mine {
		return false
	}
	pid, err := strconv.Atoi(num)
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
