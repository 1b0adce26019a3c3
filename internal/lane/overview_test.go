package lane

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// More lanes than one pipeline takes are each seen with what is theirs.
func TestManyLanesAreSeen(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		const lanes = 1100
		governed := func(i int) bool { return i%3 == 0 && i > lanes-100 } // few, so that no lease ends meanwhile
		for i := range lanes {
			name := fmt.Sprintf("host-%04d", i)
			c.SAdd(t.Context(), queue.All, name)
			if governed(i) {
				if _, err := governor.Sync(t.Context(), c, name, governor.Report{Worker: "w", Wants: 1, InFlight: i % 5, Slots: 10}); err != nil {
					t.Fatal(err)
				}
			}
			if i%7 == 0 {
				if err := governor.Configure(t.Context(), c, name, governor.Config{Max: i + 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		all, err := List(t.Context(), c)
		if err != nil || len(all) != lanes {
			t.Fatalf("%d lanes, %v", len(all), err)
		}
		for i, o := range all {
			if o.Name != fmt.Sprintf("host-%04d", i) {
				t.Fatalf("lane %d is %s", i, o.Name)
			}
			if is := o.Governed != nil; is != governed(i) || is && o.Governed.InFlight != i%5 {
				t.Errorf("%s: governed %+v", o.Name, o.Governed)
			}
			if configured := i%7 == 0; configured && o.Config.Max != i+1 || !configured && o.Config != (governor.Config{}) {
				t.Errorf("%s: configured %+v", o.Name, o.Config)
			}
		}
	})
}
