package queue

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSetAsideKeepsWhatWasThere(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		for id, want := range map[string]Bad{
			"garbage": {Kind: "hash", Data: []byte("\xff\xff"), Size: 2},
			"string":  {Kind: "string", Data: []byte(strings.Repeat("x", maxKept)), Size: 20_000},
			"list":    {Kind: "list"},
			"none":    {Kind: "none"},
		} {
			key := TaskPrefix("x") + id
			switch id {
			case "garbage":
				q.c.HSet(q.ctx, key, "msg", "\xff\xff", "state", "active")
			case "string":
				q.c.Set(q.ctx, key, strings.Repeat("x", 20_000), 0)
			case "list":
				q.c.LPush(q.ctx, key, "a", "b")
			}
			q.c.LPush(q.ctx, Active("x"), id)
			q.c.ZAdd(q.ctx, Lease("x"), redis.Z{Score: someLease, Member: id})
			bad, err := SetAside(q.ctx, q.c, "x", id, "for a reason")
			if err != nil || bad == nil || bad.Kind != want.Kind || string(bad.Data) != string(want.Data) || bad.Size != want.Size {
				t.Fatalf("%s: %+v, %v", id, bad, err)
			}
			if n, err := CountSetAside(q.ctx, q.c, []string{"none", "x"}); n != q.c.LLen(q.ctx, Quarantine("x")).Val() || n == 0 || err != nil {
				t.Errorf("%d entries were set aside, %v", n, err)
			}
			if bad, err := SetAside(q.ctx, q.c, "x", id, "again"); bad != nil || err != nil {
				t.Errorf("%s again: %+v, %v", id, bad, err)
			}
			var kept Bad
			if err := json.Unmarshal([]byte(q.c.LIndex(q.ctx, Quarantine("x"), 0).Val()), &kept); err != nil || kept.ID != id || kept.Why != "for a reason" ||
				string(kept.Data) != string(want.Data) {
				t.Errorf("%s is kept as %+v, %v", id, kept, err)
			}
		}
		if keys := q.keys("*"); !slices.Equal(keys, []string{Quarantine("x")}) {
			t.Errorf("left are %v", keys)
		}
	})
}

func TestQuarantineIsBounded(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		for n := range quarantined + 5 {
			id := fmt.Sprint(n)
			q.c.LPush(q.ctx, Active("x"), id)
			if _, err := SetAside(q.ctx, q.c, "x", id, ""); err != nil {
				t.Fatal(err)
			}
		}
		if n := q.c.LLen(q.ctx, Quarantine("x")).Val(); n != quarantined {
			t.Errorf("%d are kept", n)
		}
	})
}

func TestUnmovableAreFound(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		for _, id := range []string{"1", "2", "3"} {
			q.add("x", id)
			q.retry("x", q.take("x", someLease))
		}
		q.c.Del(q.ctx, TaskPrefix("x")+"1", TaskPrefix("x")+"2")
		q.c.Set(q.ctx, TaskPrefix("x")+"2", "?", 0)
		bad, err := Unmovable(q.ctx, q.c, "x", Retry("x"), time.Unix(someLease, 0))
		if err != nil || !slices.Equal(bad, []string{"2"}) {
			t.Errorf("%v, %v", bad, err)
		}
		if bad, err := Unmovable(q.ctx, q.c, "x", Retry("x"), time.Unix(someLease-1, 0)); err != nil || len(bad) != 0 {
			t.Errorf("before they are due: %v, %v", bad, err)
		}
	})
}

func TestCloseComparesTheLease(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.take("x", someLease)
		for _, seen := range []string{"", "1"} {
			if closed, err := Close(q.ctx, q.c, "x", "b:1", seen); closed || err != nil {
				t.Errorf("seen with %q: %v, %v", seen, closed, err)
			}
		}
		if closed, err := Close(q.ctx, q.c, "x", "b:1", fmt.Sprint(someLease)); !closed || err != nil {
			t.Errorf("as seen: %v, %v", closed, err)
		}
		if keys := q.keys("asynq:{x}:*"); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
		if closed, err := Close(q.ctx, q.c, "x", "b:1", ""); closed || err != nil {
			t.Errorf("again: %v, %v", closed, err)
		}
	})
}

// A lease whose task is in no list: brought back if it has a message, else removed.
func TestRestoreOfWhatHasOnlyALease(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		lease := fmt.Sprint(someLease)
		for id, want := range map[string]Fate{"lost": Back, "ghost": Ghost, "waits": Ghost} {
			q.c.FlushDB(q.ctx)
			if id != "ghost" {
				q.add("x", id)
				if id == "lost" {
					q.take("x", someLease)
					q.c.Del(q.ctx, Active("x"))
				}
			}
			q.c.ZAdd(q.ctx, Lease("x"), redis.Z{Score: someLease, Member: id})
			if fate, err := Restore(q.ctx, q.c, "x", id, lease); fate != want || err != nil {
				t.Errorf("%s: %v, %v; want %v", id, fate, err, want)
			}
			if n := q.c.ZCard(q.ctx, Lease("x")).Val(); n != 0 {
				t.Errorf("%s: its lease is still there", id)
			}
			if n := q.c.LLen(q.ctx, Pending("x")).Val(); n != 1 && id != "ghost" {
				t.Errorf("%s: %d are pending", id, n)
			}
		}
	})
}

// One that is no hash fails before anything is changed.
func TestRestoreOfWhatIsNoHashChangesNothing(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.c.Set(q.ctx, TaskPrefix("x")+"b:1", "?", 0)
		q.c.LPush(q.ctx, Active("x"), "b:1")
		if _, err := Restore(q.ctx, q.c, "x", "b:1", ""); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("%v", err)
		}
		if n := q.c.LLen(q.ctx, Active("x")).Val(); n != 1 {
			t.Errorf("%d are active", n)
		}
	})
}
