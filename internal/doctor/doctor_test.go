package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// open is a client that takes any Redis; an empty URL embeds one.
func open(t *testing.T, url string) *weir.Client {
	t.Helper()
	c, err := weir.Open(t.Context(), weir.Options{URL: url, Unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// both runs f on either kind of Redis.
func both(t *testing.T, f func(t *testing.T, c *weir.Client)) {
	t.Run("miniredis", func(t *testing.T) { f(t, open(t, "")) })
	t.Run("redis", func(t *testing.T) { f(t, open(t, conntest.Server(t).URL())) })
}

// made makes one check, and returns what it found.
func made(t *testing.T, c *weir.Client, check func(*doctor) func(context.Context) error) []Finding {
	t.Helper()
	return madeBy(t, newDoctor(c), func(context.Context) {}, check)
}

// madeBy makes it where something happens before numbers are read again.
func madeBy(t *testing.T, d *doctor, between func(context.Context), check func(*doctor) func(context.Context) error) []Finding {
	t.Helper()
	d.pause = between
	d.run(t.Context(), "it", check(d))
	return d.report.Findings
}

// without wants no finding with words.
func without(t *testing.T, found []Finding, words string) {
	t.Helper()
	if slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.What, words) }) {
		t.Errorf("%q among %+v", words, found)
	}
}

// old makes all tasks of a lane wait for long.
func old(t *testing.T, rdb redis.UniversalClient, name string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := rdb.HSet(t.Context(), queue.TaskPrefix(name)+id, "pending_since", time.Now().Add(-time.Hour).UnixNano()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// wants wants a finding of a level, with words, and what helps.
func wants(t *testing.T, found []Finding, level Level, words string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Level == level && strings.Contains(f.What, words) && (level == OK || f.Remedy != "")
	}) {
		t.Errorf("no %s with %q and a remedy among %+v", level, words, found)
	}
}

// examined is a task that ends when its key is released, or at once where nobody holds it.
type examined struct {
	Key string `json:"key"`
}

var held sync.Map // key -> chan struct{}

var examine = tasks.Define("examined", tasks.Policy{Timeout: 200 * time.Millisecond, Retries: tasks.NoRetries}, func(_ context.Context, in examined) (string, error) {
	if released, is := held.Load(in.Key); is {
		<-released.(chan struct{})
	}
	return in.Key, nil
})

// hold holds tasks of a new key until release is called.
func hold() (key string, release func()) {
	key, released := rand.Text(), make(chan struct{})
	held.Store(key, released)
	return key, func() { close(released) }
}

func startWorker(t *testing.T, c *weir.Client) {
	t.Helper()
	w, err := c.NewWorker(weir.WorkerOptions{Concurrency: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
}

// A set-up as it should be has no finding, in any check, and its exit status is 0.
func TestOfAHealthySetUpNothingIsFound(t *testing.T) {
	t.Parallel()
	c := open(t, conntest.Server(t, "--appendonly", "yes").URL())
	startWorker(t, c)
	b, err := c.Begin(t.Context(), examine.Type(), weir.BatchOptions{Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.End()
	conntest.Eventually(t, 20*time.Second, "the worker is known", func(ctx context.Context) bool {
		all, err := work.Living(ctx, c.Redis())
		return err == nil && len(all) == 1
	})
	r, err := Examine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	checks := make(map[string]bool)
	for _, f := range r.Findings {
		checks[f.Check] = true
		if f.Level != OK && !strings.Contains(f.What, "CVE-2025-49844") && f.Check != "latency" { // of this machine and its Redis
			t.Errorf("found %+v", f)
		}
	}
	if len(checks) != 12 {
		t.Errorf("%d checks", len(checks))
	}
}

func TestWhatIsWrongWithRedisIsFound(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes")
	c := open(t, server.URL())
	rdb := server.Client()
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	rdb.ConfigSet(t.Context(), "appendonly", "no")
	found := made(t, c, func(d *doctor) func(context.Context) error { return d.redis })
	wants(t, found, Problem, "may evict tasks")
	wants(t, found, Warning, "keeps no append-only file")

	memory := func(d *doctor) func(context.Context) error { return d.memory }
	used, _ := strconv.ParseInt(field(rdb.Info(t.Context(), "memory").Val(), "used_memory"), 10, 64)
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction")
	rdb.ConfigSet(t.Context(), "maxmemory", strconv.FormatInt(used*100/80, 10))
	wants(t, made(t, c, memory), Warning, "of its maxmemory")
	rdb.ConfigSet(t.Context(), "maxmemory", strconv.FormatInt(used*100/105, 10))
	wants(t, made(t, c, memory), Problem, "it refuses writes")
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-random")
	rdb.ConfigSet(t.Context(), "maxmemory", strconv.FormatInt(used+1<<20, 10))
	for i := range 3000 {
		rdb.Set(t.Context(), fmt.Sprint("z", i), strings.Repeat("z", 1000), 0)
	}
	wants(t, made(t, c, memory), Problem, "has evicted")

	server.Kill()
	wants(t, made(t, c, memory), Problem, "could not be looked at")
}

func field(info, name string) string {
	_, rest, _ := strings.Cut(info, "\r\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

func TestVersionsWithTheFlawInLuaAreFound(t *testing.T) {
	for version, floor := range map[string]string{
		"6.2.7": "6.2.20", "6.2.20": "", "7.0.15": "7.2.11", "7.2.10": "7.2.11", "7.2.11": "", "7.4.5": "7.4.6", "7.4.6": "", "8.0.3": "8.0.4", "8.0.4": "",
		"8.2.1": "8.2.2", "8.2.2": "", "8.4.0": "", "9.0.0": "", "Valkey 7.2.10": "7.2.11", "Valkey 8.1.4": "", "Valkey 8.0.1": "8.0.6", "Valkey 9.0.0": "", "": "", "nonsense": "",
	} {
		if got := luaFloor(version); got != floor {
			t.Errorf("%s: %q, want %q", version, got, floor)
		}
	}
}

func TestPackagesThatHaveTheFixAreNamed(t *testing.T) {
	if s := mended("7.0.15"); !strings.Contains(s, "7.0.15-1~deb12u6") {
		t.Error(s)
	}
	if s := mended("7.2.5"); strings.Contains(s, "deb") {
		t.Error(s)
	}
}

func TestMissingRightsAreFound(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	admin := server.Client()
	check := func(rules string) []Finding {
		t.Helper()
		args := []any{"acl", "setuser", "u", "reset", "on", ">p"}
		for _, r := range strings.Fields(rules) {
			args = append(args, r)
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
		return made(t, open(t, "redis://u:p@"+server.Addr()), func(d *doctor) func(context.Context) error { return d.rights })
	}
	wants(t, check("~* &* +@all"), OK, "may run what workers and producers do")
	wants(t, check("~* &* +@all -eval -evalsha"), Problem, "may not run scripts")
	wants(t, check("~* &* +@all -hset -xadd"), Problem, "may not run hset, xadd on")
	wants(t, check("~weir:* &* +@all"), Problem, "this user may not use keys like asynq:*")
	wants(t, check("~asynq:* &* +@all"), Problem, "this user may not use keys like weir:*")
	wants(t, check("~* &* +@all -hexists -zmscore"), Problem, "may not run hexists, zmscore on")
	wants(t, check("~* resetchannels +@all"), Problem, "may not run publish")
	wants(t, check("~* resetchannels -@all +@read +@connection +@transaction +eval +evalsha +time +info"), Warning, "may only read")
	old := made(t, open(t, ""), func(d *doctor) func(context.Context) error { return d.rights })
	wants(t, old, OK, "does not tell")
}

// slow makes each command take a while more.
type slow struct {
	redis.Hook
	by time.Duration
}

func (s slow) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s slow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		<-time.After(s.by)
		return next(ctx, cmd)
	}
}

func TestASlowRedisIsFound(t *testing.T) {
	t.Parallel()
	latency := func(d *doctor) func(context.Context) error { return d.latency }
	for by, level := range map[time.Duration]Level{slowWarn: Warning, slowBad: Problem} {
		c := open(t, "")
		c.Redis().(*redis.Client).AddHook(slow{by: by})
		wants(t, made(t, c, latency), level, "a round trip")
	}
}

func TestSlotsThatNobodyServesAreFound(t *testing.T) {
	t.Parallel()
	cluster := conntest.Cluster(t, 3, "--cluster-require-full-coverage", "no")
	c := open(t, cluster.URL())
	slots := func(d *doctor) func(context.Context) error { return d.slots }
	wants(t, made(t, c, slots), OK, "3 masters serve all 16384 slots")
	if err := cluster.Nodes[0].Client().Do(t.Context(), "CLUSTER", "DELSLOTS", 0).Err(); err != nil {
		t.Fatal(err)
	}
	wants(t, made(t, c, slots), Problem, "16383 are assigned")
	if _, err := Examine(t.Context(), c); err != nil {
		t.Error(err)
	}
	acl := func(rules ...any) {
		t.Helper()
		for _, node := range cluster.Nodes {
			if err := node.Client().Do(t.Context(), append([]any{"acl", "setuser", "u"}, rules...)...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	acl("on", ">p", "~*", "&*", "+@all")
	user := open(t, strings.Replace(cluster.URL(), "://", "://u:p@", 1))
	acl("-cluster|info")
	wants(t, made(t, user, slots), Warning, "may not ask whether all slots are served")
}

func TestWhatIsWrongWithWorkersIsFound(t *testing.T) {
	t.Parallel()
	c := open(t, conntest.Server(t).URL())
	workers := func(d *doctor) func(context.Context) error { return d.ofWorkers }
	wants(t, made(t, c, workers), Warning, "no worker lives")
	key, release := hold()
	if _, err := weir.Enqueue(t.Context(), c, examine, examined{key}, weir.BatchOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	wants(t, made(t, c, workers), Problem, "no worker lives, and 1 tasks wait")
	lanes := func(d *doctor) func(context.Context) error { return d.ofLanes }
	without(t, made(t, c, lanes), "no worker takes them") // it has only just come
	old(t, c.Redis(), "examined", batch.TaskID("s", 0))
	wants(t, made(t, c, lanes), Problem, "no worker takes them")
	startWorker(t, c)
	defer release()
	conntest.Eventually(t, 30*time.Second, "its stuck handler is found", func(context.Context) bool {
		found := made(t, c, workers)
		return len(found) == 1 && found[0].Level == Warning && strings.Contains(found[0].What, "1 stuck handlers")
	})
	c.Redis().Set(t.Context(), "weir:{workers}:about:h:1:x", `{"version":"v0.0.1"}`, 0)
	c.Redis().ZAdd(t.Context(), "asynq:servers", redis.Z{Member: "asynq:servers:{h:1:x}", Score: float64(time.Now().Add(9 * time.Second).Unix())})
	mine, err := c.Redis().ZRange(t.Context(), "asynq:servers", 0, -1).Result()
	if err != nil || len(mine) != 2 {
		t.Fatal(mine, err)
	}
	server := mine[slices.IndexFunc(mine, func(key string) bool { return !strings.Contains(key, "h:1:x") })]
	other, err := c.Redis().Get(t.Context(), server).Result() // another host's says the same, but for the name
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	other = strings.Replace(other, "\n"+string(rune(len(host)))+host+"\x10", "\n\x01h\x10", 1)
	c.Redis().Set(t.Context(), "asynq:servers:{h:1:x}", other, 10*time.Second)
	wants(t, made(t, c, workers), Warning, "workers of 2 versions run: ")
	c.Redis().ZRem(t.Context(), "asynq:servers", "asynq:servers:{h:1:x}")
	about := "weir:{workers}:about:" + strings.Trim(strings.TrimPrefix(server, "asynq:servers:"), "{}")
	clocks := func(d *doctor) func(context.Context) error { return d.clocks }
	for ahead, level := range map[time.Duration]Level{5 * time.Second: Warning, time.Minute: Problem} {
		conntest.Eventually(t, 20*time.Second, "a clock that is ahead is found", func(ctx context.Context) bool { // the worker may set it right
			c.Redis().Set(ctx, about, fmt.Sprintf(`{"skew":%d}`, ahead), time.Minute)
			found := made(t, c, clocks)
			return len(found) == 1 && found[0].Level == level && strings.Contains(found[0].What, "the clock of worker")
		})
	}
}

func TestKeysThatAreNotAsynqsAreFound(t *testing.T) {
	both(t, func(t *testing.T, c *weir.Client) {
		asynq := func(d *doctor) func(context.Context) error { return d.asynq }
		rdb := c.Redis()
		rdb.SAdd(t.Context(), queue.All, "q")
		wants(t, made(t, c, asynq), OK, "the keys of 1 queues")
		rdb.Set(t.Context(), queue.Paused("q"), 1, 0)
		wants(t, made(t, c, asynq), Warning, "lane q is paused by asynq's means")
		rdb.Set(t.Context(), queue.Lease("q"), "x", 0)
		found := made(t, c, asynq)
		wants(t, found, Problem, "asynq:{q}:lease is a string, where asynq has a zset")
		for i := range 2 * named {
			rdb.SAdd(t.Context(), queue.All, fmt.Sprint("q", i))
			rdb.Set(t.Context(), queue.Active(fmt.Sprint("q", i)), "x", 0)
		}
		if found = made(t, c, asynq); len(found) > named+3 {
			t.Errorf("%d findings of one kind", len(found))
		}
	})
}

// refusing answers a command as it likes.
type refusing struct {
	slow
	name string
	err  error
}

func (r refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == r.name {
			cmd.SetErr(r.err)
			return r.err
		}
		return next(ctx, cmd)
	}
}

func (r refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if cmd.Name() == r.name {
				cmd.SetErr(r.err)
				err = r.err
			}
		}
		return err
	}
}

// refusal is an error of Redis'.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// What cannot be read is not taken for wrong: nobody is told to delete it.
func TestARefusalIsNoDamage(t *testing.T) {
	for name, check := range map[string]func(*doctor) func(context.Context) error{
		"smembers": func(d *doctor) func(context.Context) error { return d.asynq },
		"hexists":  func(d *doctor) func(context.Context) error { return d.ghosts },
	} {
		c := open(t, "")
		rdb := c.Redis()
		rdb.SAdd(t.Context(), queue.All, "q")
		rdb.HSet(t.Context(), queue.TaskPrefix("q")+"1", "msg", "m")
		rdb.LPush(t.Context(), queue.Pending("q"), "1")
		d := newDoctor(c)
		if _, err := d.lanesOf(t.Context()); err != nil {
			t.Fatal(err)
		}
		rdb.(*redis.Client).AddHook(refusing{name: name, err: refusal("NOPERM no " + name)})
		found := madeBy(t, d, func(context.Context) {}, check)
		wants(t, found, Problem, "this could not be looked at: ")
		if len(found) != 1 || strings.Contains(found[0].Remedy, "DEL") || strings.Contains(found[0].Remedy, "LREM") {
			t.Errorf("%s: %+v", name, found)
		}
	}
	c := open(t, "")
	c.Redis().Set(t.Context(), queue.All, "x", 0)
	wants(t, made(t, c, func(d *doctor) func(context.Context) error { return d.asynq }), Problem, "is not asynq's set of queues")
}

func TestWhatHoldsLanesUpIsFound(t *testing.T) {
	both(t, func(t *testing.T, c *weir.Client) {
		rdb := c.Redis()
		put := func(name, id string) {
			rdb.SAdd(t.Context(), queue.All, name)
			rdb.HSet(t.Context(), queue.TaskPrefix(name)+id, "msg", "m", "state", "pending")
			rdb.LPush(t.Context(), queue.Pending(name), id)
		}
		put("held", "1")
		if err := (&lane.Change{Pause: true}).Apply(t.Context(), rdb, "held"); err != nil {
			t.Fatal(err)
		}
		put("left", "1")
		put("stopped", "1")
		rdb.Set(t.Context(), queue.Paused("stopped"), 1, 0)
		old(t, rdb, "left", "1")
		old(t, rdb, "stopped", "1")
		found := made(t, c, func(d *doctor) func(context.Context) error { return d.ofLanes })
		wants(t, found, Warning, "lane held is paused by the operator; 1 tasks wait")
		wants(t, found, Problem, "lane left: 1 tasks wait, and no worker takes them")
		without(t, found, "lane stopped")
		rdb.Del(t.Context(), queue.TaskPrefix("stopped")+"1", queue.Pending("stopped"))

		quarantine := func(d *doctor) func(context.Context) error { return d.quarantine }
		wants(t, made(t, c, quarantine), OK, "nothing was set aside")
		rdb.LPush(t.Context(), queue.Quarantine("left"), "{}")
		wants(t, made(t, c, quarantine), Warning, "lane left has 1 entries in its quarantine")

		ghosts := func(d *doctor) func(context.Context) error { return d.ghosts }
		wants(t, made(t, c, ghosts), OK, "each of 2 tasks")
		rdb.LPush(t.Context(), queue.Pending("left"), "gone")
		rdb.ZAdd(t.Context(), queue.Retry("held"), redis.Z{Member: "lost", Score: 1})
		found = made(t, c, ghosts)
		wants(t, found, Problem, "lane left lists task gone, which has no record")
		wants(t, found, Problem, "lane held lists task lost, which has no record")
	})
}

// What is seen once may be the moment between two tasks.
func TestALaneThatMovesIsNotHeldUp(t *testing.T) {
	c := open(t, "")
	rdb := c.Redis()
	lanes := func(d *doctor) func(context.Context) error { return d.ofLanes }
	rdb.SAdd(t.Context(), queue.All, "q")
	rdb.LPush(t.Context(), queue.Pending("q"), "1")
	old(t, rdb, "q", "1")
	ends := func(ctx context.Context) { rdb.Incr(ctx, queue.Processed("q")) }
	without(t, madeBy(t, newDoctor(c), ends, lanes), "lane q")
	begins := func(ctx context.Context) { rdb.LPush(ctx, queue.Active("q"), "0") }
	without(t, madeBy(t, newDoctor(c), begins, lanes), "lane q")
	rdb.Del(t.Context(), queue.Active("q"))
	wants(t, made(t, c, lanes), Problem, "lane q: 1 tasks wait, and no worker takes them")
}

func TestWhichLanesStand(t *testing.T) {
	long := lane.Overview{Pending: 1, Oldest: time.Hour, Governed: &governor.View{Workers: 1}}
	if !idle(&long) {
		t.Error("one that has stood for an hour is not idle")
	}
	for name, change := range map[string]func(*lane.Overview){
		"a rate":              func(o *lane.Overview) { o.Config.Rate = 0.1 },
		"a learned rate":      func(o *lane.Overview) { o.Governed.Rate = 0.1 },
		"paused":              func(o *lane.Overview) { o.Config.Paused = true },
		"only just":           func(o *lane.Overview) { o.Oldest = time.Minute },
		"one runs":            func(o *lane.Overview) { o.Active = 1 },
		"a worker wakes":      func(o *lane.Overview) { o.Governed.Workers, o.Oldest = 0, time.Second },
		"nothing waits":       func(o *lane.Overview) { o.Pending = 0 },
		"a call is in flight": func(o *lane.Overview) { o.Governed.InFlight = 1 },
	} {
		o, g := long, *long.Governed
		o.Governed = &g
		if change(&o); idle(&o) {
			t.Errorf("%s: idle", name)
		}
	}
}

// More workers than a page of the web UI has are all looked at.
func TestAllWorkersAreSeen(t *testing.T) {
	const many = 300
	c := open(t, "")
	text := func(to []byte, num protowire.Number, text []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, num, protowire.BytesType), text)
	}
	for pid := range uint64(many) {
		server := protowire.AppendVarint(protowire.AppendTag(text(nil, 1, []byte("h")), 2, protowire.VarintType), pid+1)
		server = text(text(server, 5, text(nil, 1, []byte(gate.Placeholder))), 7, []byte("active"))
		key := fmt.Sprintf("asynq:servers:{h:%d:x}", pid+1)
		c.Redis().Set(t.Context(), key, server, 10*time.Second)
		c.Redis().ZAdd(t.Context(), "asynq:servers", redis.Z{Member: key, Score: float64(time.Now().Unix() + 10)})
	}
	wants(t, made(t, c, func(d *doctor) func(context.Context) error { return d.ofWorkers }), OK, "300 workers")
}

// searching counts searches of lists from end to end.
type searching struct {
	slow
	unbounded, all *int
}

func (s searching) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name() == "lpos" {
				*s.all++
				if !slices.ContainsFunc(cmd.Args(), func(a any) bool { return strings.EqualFold(fmt.Sprint(a), "maxlen") }) {
					*s.unbounded++
				}
			}
		}
		return next(ctx, cmds)
	}
}

func TestGhostsAreNotLookedForInAllOfAList(t *testing.T) {
	c := open(t, "")
	c.Redis().SAdd(t.Context(), queue.All, "q")
	c.Redis().RPush(t.Context(), queue.Pending("q"), "1", "2", "gone")
	s := searching{unbounded: new(int), all: new(int)}
	c.Redis().(*redis.Client).AddHook(s)
	wants(t, made(t, c, func(d *doctor) func(context.Context) error { return d.ghosts }), Problem, "lane q lists task gone")
	if *s.all == 0 || *s.unbounded > 0 {
		t.Errorf("%d of %d searches have no bound", *s.unbounded, *s.all)
	}
}

func TestBatchesThatDoNotAddUpAreFound(t *testing.T) {
	both(t, func(t *testing.T, c *weir.Client) {
		l := batch.NewLedger(c.Redis())
		create := func(name string, tasks int64) {
			t.Helper()
			if _, err := l.Create(t.Context(), name, batch.Options{Type: "examined", Lane: "l", KeepMS: 60_000}); err != nil {
				t.Fatal(err)
			}
			if err := l.Checkpoint(t.Context(), name, 0, tasks, ""); err != nil {
				t.Fatal(err)
			}
		}
		batches := func(d *doctor) func(context.Context) error { return d.batches }
		create("good", 2)
		for seq := range int64(2) {
			if _, err := l.Record(t.Context(), "good", &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Seal(t.Context(), "good"); err != nil {
			t.Fatal(err)
		}
		wants(t, made(t, c, batches), OK, "1 batches, 0 of them not over; each of the 2 tasks")
		create("lost", 3)
		c.Redis().HIncrBy(t.Context(), "weir:{good}:batch", "ok", 1)
		create("paused", 0)
		create("stopped", 3)
		if err := errors.Join(l.SetPaused(t.Context(), "paused", true), l.SetStopped(t.Context(), "stopped", "me", true)); err != nil {
			t.Fatal(err)
		}
		costly := newDoctor(c)
		costly.listed = idsMost
		without(t, madeBy(t, costly, func(context.Context) {}, batches), "have neither")
		if len(costly.unsought) != 4 {
			t.Errorf("no task of %d batches was looked for", len(costly.unsought))
		}
		found := made(t, c, batches)
		wants(t, found, Problem, "batch lost: of 3 tasks that were enqueued, 3 have neither")
		wants(t, found, Problem, "batch good counts 3 outcomes, but 2")
		wants(t, found, Warning, "batch paused is paused")
		wants(t, found, Warning, "batch stopped was interrupted")
		wants(t, found, Warning, "batch lost is not fed")
		if n := len(found); n != 5 {
			t.Errorf("%d findings: %+v", n, found)
		}
	})
}

// hanging answers no more of a command after the first.
type hanging struct {
	slow
	name string
	seen *int
}

func (h hanging) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == h.name {
			if *h.seen++; *h.seen > 1 {
				<-ctx.Done()
				return ctx.Err()
			}
		}
		return next(ctx, cmd)
	}
}

// What takes too long to be looked at is not taken for wrong. Of batches that are over no
// lane is read.
func TestACheckThatTakesTooLongSaysHowFarItCame(t *testing.T) {
	c := open(t, "")
	l := batch.NewLedger(c.Redis())
	for _, name := range []string{"a", "b", "c"} {
		if _, err := l.Create(t.Context(), name, batch.Options{Type: "examined", Lane: "l", KeepMS: 60_000}); err != nil {
			t.Fatal(err)
		}
		if err := l.AddLane(t.Context(), name, "l"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Seal(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	c.Redis().SAdd(t.Context(), queue.All, "l")
	c.Redis().LPush(t.Context(), queue.Pending("l"), "1")
	batches := func(d *doctor) func(context.Context) error { return d.batches }
	c.Redis().(*redis.Client).AddHook(refusing{name: "lrange", err: refusal("ERR a lane is read")})
	wants(t, made(t, c, batches), OK, "3 batches, 0 of them not over")
	c.Redis().(*redis.Client).AddHook(hanging{name: "hkeys", seen: new(int)})
	d := newDoctor(c)
	d.within = 2 * time.Second
	found := madeBy(t, d, func(context.Context) {}, batches)
	wants(t, found, Warning, "in 2s 1 of 3 batches were looked at")
	if d.report.Level != Warning {
		t.Errorf("%+v", found)
	}
}
