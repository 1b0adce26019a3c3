package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestAQueueIsOfItsLane(t *testing.T) {
	t.Parallel()
	for queue, lane := range map[string]string{
		"api": "api", "api:1": "api", "api:9999": "api", "api:10000": "api:10000", "api:0": "api:0", "api:01": "api:01", "api:+1": "api:+1", "api:99999999999999999999": "api:99999999999999999999", "a.b_1-2:3": "a.b_1-2",
		"weir:gate": "weir:gate", "mail:urgent": "mail:urgent", "a:1:2": "a:1:2", "a:": "a:", ":1": ":1", "a:1x": "a:1x", "": "",
	} {
		if got := Lane(queue); got != lane {
			t.Errorf("queue %q is of lane %q, want %q", queue, got, lane)
		}
	}
	queues := []string{"b:7", "a", "b", "a:12", "b:3", "c:9"}
	if got := Lanes(queues); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("lanes %q", got)
	}
	if got := fmt.Sprint(ByLane(queues)); got != "map[a:[a a:12] b:[b b:3 b:7] c:[c:9]]" {
		t.Errorf("by lane %s", got)
	}
}

// As many masters as divide the number of shards have as many shards each.
func TestShardsAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		lane := fmt.Sprintf("host-%d.example", i)
		for n := 1; n <= MaxShards; n++ {
			queues := Shards(lane, n)
			if queues[0] != lane {
				t.Fatalf("the first shard of %s is %s", lane, queues[0])
			}
			seen := make(map[string]bool)
			for _, q := range queues {
				if seen[q] || Lane(q) != lane {
					t.Fatalf("%d shards: %q", n, queues)
				}
				seen[q] = true
			}
			for _, masters := range []int{2, 3, 4, 6} {
				if n%masters > 0 {
					continue
				}
				has := make([]int, masters)
				for _, q := range queues[1:] {
					slot := int(crc16(0, q) % slots)
					for m := range masters {
						if slot >= slots*m/masters && slot < slots*(m+1)/masters {
							has[m]++
						}
					}
				}
				slices.Sort(has) // without the first queue, which may be near an end
				if has[0] != n/masters-1 || masters > 1 && has[1] != n/masters {
					t.Errorf("%d shards of %s: %d masters have %d of them, and one", n, lane, masters, has)
				}
			}
		}
	}
}

// The slots are those that Redis knows.
func TestSlots(t *testing.T) {
	t.Parallel()
	c := conntest.Cluster(t, 1).Nodes[0].Client()
	for _, q := range append(Shards("api.example", MaxShards), "", "weir", strings.Repeat("x", 300)) {
		if got, err := c.ClusterKeySlot(t.Context(), q).Result(); err != nil || got != int64(crc16(0, q)%slots) {
			t.Errorf("%q is in slot %d, %v; want %d", q, got, err, crc16(0, q)%slots)
		}
	}
}

// Tasks are spread evenly, of one batch and of many of one task.
func TestTasksAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	ids := map[string]func(i int) string{
		"a batch":  func(i int) string { return fmt.Sprintf("http-0af3b2c1:%d", i) },
		"batches":  func(i int) string { return fmt.Sprintf("http-%08x:0", i*7919) },
		"every 12": func(i int) string { return fmt.Sprintf("b:%d", 12*i) },
	}
	for name, id := range ids {
		for _, n := range []int{2, 3, 12, 64} {
			queues, has := Shards("api", n), make(map[string]int)
			const each = 2000
			for i := range n * each {
				q := Pick(queues, id(i))
				if q != Pick(queues, id(i)) {
					t.Fatal("the same task goes elsewhere")
				}
				has[q]++
			}
			for _, q := range queues {
				if has[q] < each*85/100 || has[q] > each*115/100 {
					t.Errorf("%s: of %d each queue of %d %s has %d", name, n*each, n, q, has[q])
				}
			}
		}
	}
}
