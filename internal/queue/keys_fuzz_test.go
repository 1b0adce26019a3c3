package queue

import (
	"strings"
	"testing"

	"github.com/weir-tasks/weir/tasks"
)

// A lane's name is refused, or all its keys lie in its own slot of a cluster, are no other
// lane's, and lead back to it; whatever the ID of a task in it is.
func FuzzLaneName(f *testing.F) {
	for _, name := range []string{"", "a", "-a", ".a", "a.b", "a:1", "{a}", "a}", "A", "ä", "a b", "a\n", "a\x00", "example.com_8080", "a..b", strings.Repeat("a", 128), strings.Repeat("a", 129), "workers"} {
		f.Add(name, "b:7")
	}
	f.Add("a", "}:t:{b}")
	f.Fuzz(func(t *testing.T, lane, id string) {
		if tasks.ValidLane(lane) != nil {
			return
		}
		keys := []string{Active(lane), Lease(lane), Scheduled(lane), Retry(lane), Archived(lane), Paused(lane), Quarantine(lane), TaskPrefix(lane) + id, GroupPrefix(lane)}
		for _, p := range Priorities {
			keys = append(keys, p.List(lane))
		}
		for _, key := range keys {
			_, tag, _ := strings.Cut(key, "{")
			if tag, _, _ = strings.Cut(tag, "}"); tag != lane || strings.ContainsAny(strings.TrimSuffix(key, id), " \r\n\x00*") {
				t.Errorf("lane %q has the key %q", lane, key)
			}
		}
		if of, ok := LaneOf(Pending(lane)); !ok || of != lane {
			t.Errorf("%q is of lane %q, %v", Pending(lane), of, ok)
		}
		if !IsTask(TaskPrefix(lane)+id, lane, id) || IsTask(TaskPrefix(lane)+id, lane+"x", id) || !Is(Active(lane), lane, "active") {
			t.Errorf("lane %q: the key of %q is not known", lane, id)
		}
	})
}
