package ui

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// sent is how much a Redis has sent so far, in bytes.
func sent(t *testing.T, rdb redis.UniversalClient) int {
	t.Helper()
	info, err := rdb.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(regexp.MustCompile(`total_net_output_bytes:(\d+)`).FindStringSubmatch(info)[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// asynqmon lists tasks, waiting now or later, and shows one; of those that are large together
// it lists what fits, of one that is huge nothing, and whatever a page is asked to have, Redis
// sends no more than that.
func TestAsynqmonReadsNoMoreThanThereIsRoomFor(t *testing.T) {
	client, err := weir.Open(t.Context(), weir.Options{URL: conntest.Server(t).URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	enqueue := asynq.NewClientFromRedisClient(client.Redis())
	put := func(queue, id string, size int, o ...asynq.Option) {
		t.Helper()
		o = append(o, asynq.Queue(queue), asynq.TaskID(id))
		if _, err := enqueue.Enqueue(asynq.NewTask("http", []byte(strings.Repeat("x", size))), o...); err != nil {
			t.Fatal(err)
		}
	}
	for queue, o := range map[string][]asynq.Option{"pending": nil, "scheduled": {asynq.ProcessIn(time.Hour)}} {
		put(queue, "first", 10, o...)
		for i := range 2 {
			put(queue, fmt.Sprint("huge", i), 16<<20, o...)
		}
		for i := range 40 {
			put(queue, fmt.Sprint("large", i), 256<<10, o...)
		}
	}
	s := siteOf(t, client, nil)
	for _, queue := range []string{"pending", "scheduled"} {
		before := sent(t, client.Redis())
		res, body := s.do("GET", "/asynq/api/queues/"+queue+"/"+queue+"_tasks?size=1000000")
		var list struct{ Tasks []struct{ ID string } }
		if err := json.Unmarshal([]byte(body), &list); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %s, %v: %.300s", queue, res.Status, err, body)
		}
		shown := ""
		for _, task := range list.Tasks {
			shown += task.ID + " "
		}
		if n := len(list.Tasks); n < 30 || n > 33 || strings.Contains(shown, "huge") {
			t.Errorf("%s: %d are listed: %s", queue, n, shown)
		}
		if n := sent(t, client.Redis()) - before; n > 9<<20 {
			t.Errorf("%s: Redis has sent %d bytes", queue, n)
		}
		if res, _ := s.do("GET", "/asynq/api/queues/"+queue+"/tasks/huge0"); res.StatusCode != 500 {
			t.Errorf("%s: a huge task: %s", queue, res.Status)
		}
		if res, body := s.do("GET", "/asynq/api/queues/"+queue+"/tasks/large0"); res.StatusCode != 200 || len(body) > 3*showMax {
			t.Errorf("%s: a large task: %s, %d bytes", queue, res.Status, len(body))
		}
	}
}

// TestAPageOfAsynqmonIsBounded: of a page that a request wants larger than it may be, or of
// size 0, which is all there is, and of one that may be so.
func TestAPageOfAsynqmonIsBounded(t *testing.T) {
	client := embedded(t)
	enqueue := asynq.NewClientFromRedisClient(client.Redis())
	for i := range monPageMost + 5 {
		if _, err := enqueue.Enqueue(asynq.NewTask("http", nil), asynq.Queue(queue), asynq.TaskID(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	s := siteOf(t, client, nil)
	for asked, want := range map[string]int{"": 20, "?size=many": 20, "?size=5": 5, "?size=1000": 1000, "?size=1001": 1000,
		"?page=2&size=1001": 5, "?size=1000000&size=5": 1000, "?size=0": 1, "?size=-1": 1} {
		res, body := s.do("GET", "/asynq/api/queues/"+queue+"/pending_tasks"+asked)
		var list struct{ Tasks []struct{} }
		if err := json.Unmarshal([]byte(body), &list); err != nil || res.StatusCode != 200 || len(list.Tasks) != want {
			t.Errorf("%q: %s, %v, %d tasks, want %d", asked, res.Status, err, len(list.Tasks), want)
		}
	}
}
