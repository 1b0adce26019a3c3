package queue

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A message that is too large is told as such, not read, beside others that are; it is set
// aside with its size alone.
func TestALargeMessageIsNotRead(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "small")
		large := strings.Repeat("x", MaxMessage+1)
		q.c.HSet(q.ctx, TaskPrefix("x")+"large", "msg", large, "state", "active")
		q.c.HSet(q.ctx, TaskPrefix("x")+"limit", "msg", large[:MaxMessage], "state", "active")
		q.c.LPush(q.ctx, Active("x"), "large")
		q.c.ZAdd(q.ctx, Lease("x"), redis.Z{Score: someLease, Member: "large"})
		read := Messages(q.ctx, q.c, "x", []string{"large", "small", "gone", "limit"})
		for i, want := range []error{ErrTooLarge, nil, redis.Nil, nil} {
			if !errors.Is(read[i].Err(), want) {
				t.Errorf("message %d: %v, want %v", i, read[i].Err(), want)
			}
		}
		if m, err := Decode(read[1].Val()); err != nil || m.ID != "small" || len(read[0].Val()) > 0 || len(read[3].Val()) != MaxMessage {
			t.Errorf("read %+v, %v, of the large one %d bytes, of one at the limit %d", m, err, len(read[0].Val()), len(read[3].Val()))
		}
		if decoded, err := Decoded(q.ctx, q.c, "x", []string{"large", "small"}); err != nil || decoded["large"].ID != "" || decoded["small"].ID != "small" {
			t.Errorf("%+v, %v", decoded, err)
		}
		bad, err := SetAside(q.ctx, q.c, "x", "large", ErrTooLarge.Error())
		if err != nil || bad == nil || bad.Size != len(large) || len(bad.Data) > 0 {
			t.Errorf("set aside as %+.200v, %v", bad, err)
		}
	})
}

// Nor is it read by whoever looks for its task; one that is just as large as may be is.
func TestALargeMessageIsFoundAndNotRead(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.c.HSet(q.ctx, TaskPrefix("x")+"large", "msg", strings.Repeat("x", MaxMessage+1), "state", "pending")
		q.c.HSet(q.ctx, TaskPrefix("x")+"limit", "msg", strings.Repeat("x", MaxMessage), "state", "pending")
		q.c.HSet(q.ctx, TaskPrefix("x")+"blank", "msg", "", "state", "pending")
		q.add("x", "small")
		for id, want := range map[string]struct {
			lane string
			id   string
			err  error
		}{"large": {"x", "", ErrTooLarge}, "limit": {"x", "", nil}, "small": {"x", "small", nil}, "blank": {"x", "", nil}, "none": {"", "", nil}} {
			lane, m, err := Find(q.ctx, q.c, []string{"empty", "x"}, id)
			if lane != want.lane || !errors.Is(err, want.err) || (m == nil) != (id == "large" || id == "none") || m != nil && m.ID != want.id {
				t.Errorf("%s: lane %q, %.100v, %v", id, lane, m, err)
			}
		}
	})
}
