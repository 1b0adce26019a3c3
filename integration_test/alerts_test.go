package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/telemetry"
)

// Each alert of deploy/ fires, in a real Prometheus, by a fault of the kind it is for; not
// without one; it ends when the fault does; and Alertmanager passes it on. Times are a
// sixtieth of those of the rules, the faults happen side by side.
func TestEachAlertFiresByItsFault(t *testing.T) {
	notified := newNotified(t)
	prometheus := newPrometheus(t, startAlertmanager(t, notified.URL))

	// No fault at all.
	well := conntest.Server(t).URL()
	prometheus.scrape("well", metricsAddr(t, startWorker(t, well, "--http", "127.0.0.1:0")))
	steady := startProducer(t, well, "run", "sleep", "--repeat", "100000", "--payload", sleepOf(200*time.Millisecond), "--quiet")

	// Tasks, and nobody to run them; then one of them is taken out of Redis.
	idle := conntest.Server(t)
	prometheus.scrape("idle", metricsAddr(t, startProducer(t, idle.URL(), "ui", "--addr", "127.0.0.1:0", "--http", "127.0.0.1:0")))
	producer(t, idle.URL(), "enqueue", "sleep", "--batch", "b", "--repeat", "20", "--payload", sleepOf(0)).exits(t, 0)
	if n, err := idle.Client().LRem(t.Context(), "asynq:{sleep}:pending", 1, "b:7").Result(); err != nil || n != 1 {
		t.Fatalf("taken out are %d, %v", n, err)
	}
	do(t, idle, "DEL", "asynq:{sleep}:t:b:7")

	// A worker that dies with tasks; another with a handler that hangs, tasks that fail, and
	// a lane that is held.
	busy := conntest.Server(t).URL()
	dying := startWorker(t, busy, "--lanes", "long", "--concurrency", "5")
	producer(t, busy, "enqueue", "sleep", "--batch", "long", "--lane", "long", "--repeat", "5", "--payload", sleepOf(time.Minute)).exits(t, 0)
	awaitStanding(t, busy, "long", "all run", func(s standing) bool { return s.Active == 5 })
	prometheus.scrape("busy", metricsAddr(t, startWorker(t, busy, "--http", "127.0.0.1:0", "--concurrency", "30")))
	producer(t, busy, "enqueue", "sleep", "--batch", "hang", "--timeout", "200ms", "--retries", "0", "--repeat", "2", "--payload", `{"task_number":1,"fail":"hang"}`).exits(t, 0)
	startProducer(t, busy, "run", "sleep", "--batch", "failing", "--repeat", "100000", "--payload", `{"task_number":1,"seconds":0.3,"fail":"expected"}`, "--quiet")
	producer(t, busy, "lane", "held", "--pause").exits(t, 0)
	producer(t, busy, "enqueue", "sleep", "--batch", "held", "--lane", "held", "--repeat", "3", "--payload", sleepOf(0)).exits(t, 0)

	// A Redis that is nearly full, and one that does not answer.
	full := conntest.Server(t)
	prometheus.scrape("full", metricsAddr(t, startWorker(t, full.URL(), "--http", "127.0.0.1:0")))
	do(t, full, "SETRANGE", "ballast", 20<<20, "x") // beside which a connection more or less is nothing
	do(t, full, "CONFIG", "SET", "maxmemory", 28<<20)
	frozen := conntest.Server(t)
	prometheus.scrape("frozen", metricsAddr(t, startWorker(t, frozen.URL(), "--http", "127.0.0.1:0")))

	// A host whose clock is 5 s off.
	prometheus.scrape("skewed", skewed(t, conntest.Server(t).URL(), 5*time.Second))

	prometheus.start()
	prometheus.seesAll()
	dying.kill()
	frozen.Freeze()
	t.Cleanup(frozen.Thaw)
	began := time.Now()

	// Nobody tells this one anything.
	dark := newPrometheus(t, "")
	dark.scrape("dark", fmt.Sprintf("127.0.0.1:%d", conntest.FreePort(t)))
	dark.start()

	want := map[string]string{
		"WeirNoWorkers": "idle", "WeirNothingFinishes": "idle", "WeirTaskTooOld": "idle", "WeirAccountingMismatch": "idle",
		"WeirManyFailures": "busy", "WeirStuckHandlers": "busy", "WeirRescues": "busy", "WeirLaneBlocked": "busy",
		"WeirRedisMemory": "full", "WeirRedisAway": "frozen", "WeirClockSkew": "skewed",
	}
	for _, r := range rules(t) {
		if _, caused := want[r.Alert]; !caused && r.Alert != "WeirNobodyTells" {
			t.Errorf("nothing makes %s fire", r.Alert)
		}
	}
	fired := make(map[string]time.Duration)
	missing := maps.Clone(want)
	for end := time.Now().Add(120 * time.Second); len(missing) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("these do not fire: %v; those do: %v", missing, fired)
		}
		for alert, of := range prometheus.firing() {
			if job, is := missing[alert]; is && of[job] {
				fired[alert] = time.Since(began).Round(time.Second)
				delete(missing, alert)
			}
		}
	}
	eventually(t, 30*time.Second, func() bool { return dark.firing()["WeirNobodyTells"] != nil }, "that nobody tells is told")
	eventually(t, 30*time.Second, func() bool { return notified.of("WeirNoWorkers", "idle") }, "Alertmanager tells of the alert")
	for alert, of := range prometheus.firing() {
		if of["well"] {
			t.Errorf("%s fires without a fault", alert)
		}
	}
	t.Logf("seconds from fault to alert: %v", fired)

	producer(t, busy, "lane", "held", "--resume").exits(t, 0)
	startWorker(t, idle.URL())
	eventually(t, long, func() bool {
		now := prometheus.firing()
		return !now["WeirLaneBlocked"]["busy"] && !now["WeirNoWorkers"]["idle"]
	}, "alerts end with their faults")
	if !steady.running() {
		t.Error("the batch without faults has ended")
	}
}

// metricsAddr is where a process serves its metrics.
func metricsAddr(t *testing.T, p *proc) string {
	t.Helper()
	p.logs("serving metrics and health")
	return regexp.MustCompile(`"serving metrics and health","addr":"([^"]+)"`).FindStringSubmatch(p.stderr.String())[1]
}

// skewed is a worker on a host whose clock is ahead, in this process: no command has a flag
// for that.
func skewed(t *testing.T, url string, by time.Duration) (addr string) {
	t.Helper()
	client, err := weir.Open(t.Context(), weir.Options{URL: url})
	must(t, err)
	metrics := telemetry.New("v").Worker()
	w, err := client.NewWorker(weir.WorkerOptions{Concurrency: 1, Now: func() time.Time { return time.Now().Add(by) }})
	must(t, err)
	metrics.Watch(w.Stat)
	server, err := telemetry.Serve("127.0.0.1:0", metrics.Metrics)
	must(t, err)
	must(t, w.Start())
	t.Cleanup(func() {
		server.Close()
		must(t, client.Close())
	})
	return server.Addr()
}

// prom is a Prometheus with deploy/'s rules, sixty times as fast.
type prom struct {
	t      *testing.T
	dir    string
	addr   string
	alerts string // an Alertmanager's address, or none
	jobs   []string
	target map[string]string
}

func newPrometheus(t *testing.T, alertmanager string) *prom {
	return &prom{t: t, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", conntest.FreePort(t)), alerts: alertmanager, target: make(map[string]string)}
}

// scrape adds a process. One whose Redis is frozen takes its time to say so.
func (p *prom) scrape(job, addr string) {
	p.jobs = append(p.jobs, job)
	p.target[job] = addr
}

func (p *prom) start() {
	p.t.Helper()
	var conf strings.Builder
	fmt.Fprintln(&conf, "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]")
	if p.alerts != "" {
		fmt.Fprintf(&conf, "alerting: {alertmanagers: [{static_configs: [{targets: ['%s']}]}]}\n", p.alerts)
	}
	fmt.Fprintln(&conf, "scrape_configs:")
	for _, job := range p.jobs {
		every := "1s"
		if job == "frozen" {
			every = "5s"
		}
		fmt.Fprintf(&conf, "- {job_name: %s, scrape_interval: %s, scrape_timeout: %[2]s, static_configs: [{targets: ['%s']}]}\n", job, every, p.target[job])
	}
	must(p.t, os.WriteFile(filepath.Join(p.dir, "prometheus.yml"), []byte(conf.String()), 0o600))
	must(p.t, os.WriteFile(filepath.Join(p.dir, "rules.yml"), []byte(quick(p.t, content(p.t, "../deploy/prometheus/weir.rules.yml"))), 0o600))
	start(p.t, exec.Command(tool(p.t, "prometheus"), "--config.file="+filepath.Join(p.dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(p.dir, "data"), "--web.listen-address="+p.addr, "--log.level=warn"))
	eventually(p.t, 20*time.Second, func() bool { return statusOf("http://"+p.addr+"/-/ready") == http.StatusOK }, "Prometheus is ready")
}

// quick makes durations of rules a sixtieth of what they are, and so the seconds that a
// task may wait.
func quick(t *testing.T, rules string) string {
	t.Helper()
	const limit = "(weir_lane_oldest_seconds) > 900"
	if strings.Count(rules, limit) != 1 {
		t.Fatalf("the rules have no %q", limit)
	}
	rules = strings.Replace(rules, limit, "(weir_lane_oldest_seconds) > 15", 1)
	return regexp.MustCompile(`(for: |\[)(\d+)m`).ReplaceAllString(rules, "${1}${2}s")
}

// seesAll waits until every process has been scraped.
func (p *prom) seesAll() {
	p.t.Helper()
	eventually(p.t, 20*time.Second, func() bool {
		var answer struct {
			Data struct{ Result []any }
		}
		return ask("http://"+p.addr+"/api/v1/query?query=up%3D%3D1", &answer) == nil && len(answer.Data.Result) == len(p.jobs)
	}, "Prometheus sees all processes")
}

// firing are the alerts that fire, by the jobs they are of.
func (p *prom) firing() map[string]map[string]bool {
	p.t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	must(p.t, ask("http://"+p.addr+"/api/v1/alerts", &answer))
	all := make(map[string]map[string]bool)
	for _, a := range answer.Data.Alerts {
		if a.State != "firing" {
			continue
		}
		name := a.Labels["alertname"]
		if all[name] == nil {
			all[name] = make(map[string]bool)
		}
		all[name][a.Labels["job"]] = true
	}
	return all
}

func ask(url string, answer any) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return json.NewDecoder(r.Body).Decode(answer)
}

func statusOf(url string) int {
	r, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	return r.StatusCode
}

// notified hears what Alertmanager tells.
type notified struct {
	*httptest.Server
	mu  sync.Mutex
	all []map[string]string // labels
}

func newNotified(t *testing.T) *notified {
	n := &notified{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct {
			Alerts []struct{ Labels, Annotations map[string]string }
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, a := range message.Alerts {
			if a.Annotations["summary"] != "" && a.Annotations["remedy"] != "" {
				n.all = append(n.all, a.Labels)
			}
		}
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *notified) of(alert, job string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, labels := range n.all {
		if labels["alertname"] == alert && labels["job"] == job {
			return true
		}
	}
	return false
}

// startAlertmanager starts one as deploy/ has it, but that it does not wait long, and has
// somebody to tell.
func startAlertmanager(t *testing.T, webhook string) (addr string) {
	t.Helper()
	conf := content(t, "../deploy/alertmanager/alertmanager.yml")
	conf = strings.Replace(conf, "group_wait: 10s", "group_wait: 1s", 1)
	conf += "    webhook_configs: [{url: '" + webhook + "'}]\n"
	dir := t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	must(t, os.WriteFile(file, []byte(conf), 0o600))
	addr = fmt.Sprintf("127.0.0.1:%d", conntest.FreePort(t))
	start(t, exec.Command(tool(t, "prometheus-alertmanager", "alertmanager"), "--config.file="+file, "--storage.path="+dir,
		"--web.listen-address="+addr, "--cluster.listen-address=", "--log.level=warn"))
	eventually(t, 20*time.Second, func() bool { return statusOf("http://"+addr+"/-/ready") == http.StatusOK }, "Alertmanager is ready")
	return addr
}

// A worker that is told to stop says so before it does: whoever sends it work, or counts on
// it, knows. So it is with one whose slots are all stuck, and that says that it wants a new
// start.
func TestAWorkerSaysWhyItIsNotReady(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	w := startWorker(t, url, "--http", "127.0.0.1:0", "--concurrency", "2", "--shutdown-timeout", "5s")
	at := "http://" + metricsAddr(t, w)
	eventually(t, long, func() bool {
		status, body := page(t, at+"/readyz")
		return status == http.StatusOK && strings.Contains(body, "redis: ok\nworker: ok\nslots: ok\nclock: ok\n")
	}, "a worker is ready")
	producer(t, url, "enqueue", "sleep", "--timeout", "100ms", "--retries", "0", "--repeat", "2", "--payload", `{"task_number":1,"fail":"hang"}`).exits(t, 0)
	eventually(t, 20*time.Second, func() bool { return statusOf(at+"/healthz") == 503 && statusOf(at+"/readyz") == 503 }, "all slots are stuck")

	url = conntest.Server(t).URL()
	w = startWorker(t, url, "--http", "127.0.0.1:0", "--concurrency", "2", "--shutdown-timeout", "20s")
	at = "http://" + metricsAddr(t, w)
	producer(t, url, "enqueue", "sleep", "--batch", "b", "--payload", sleepOf(10*time.Second)).exits(t, 0)
	awaitStanding(t, url, "b", "it runs", func(s standing) bool { return s.Active == 1 })
	w.signal(syscall.SIGTERM)
	eventually(t, 9*time.Second, func() bool { return statusOf(at+"/readyz") == 503 && statusOf(at+"/healthz") == 200 }, "it is alive, and not ready")
	w.wait().exits(t, 0)
}

// A worker that waits for Redis from its start says so where it is asked, and is alive; when
// Redis comes it is ready.
func TestAWorkerSaysThatItWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	server.Kill()
	w := start(t, command("worker", server.URL(), "--http", "127.0.0.1:0"))
	at := "http://" + metricsAddr(t, w)
	why := "redis: Redis is not reachable: redis at " + server.Addr() + ": connection refused; is redis-server running there?\n"
	eventually(t, long, func() bool {
		status, body := page(t, at+"/readyz")
		return status == 503 && body == why
	}, "it is not ready, and says why")
	if body := get(t, at+"/healthz"); body != "ok\n" {
		t.Errorf("its health is %q", body)
	}
	if body := get(t, at+"/metrics"); !strings.Contains(body, `weir_health{check="redis"} 0`) {
		t.Errorf("the metrics do not have it: %s", body)
	}
	server.Restart()
	w.logs("worker started")
	eventually(t, long, func() bool {
		status, body := page(t, at+"/readyz")
		return status == http.StatusOK && strings.Contains(body, "redis: ok\nworker: ok\nslots: ok\nclock: ok\n")
	}, "it is ready")
	if body := get(t, at+"/metrics"); !strings.Contains(body, `weir_health{check="worker"} 1`) || !strings.Contains(body, "weir_worker_slots 50") {
		t.Errorf("the metrics do not have the worker: %s", body)
	}
	w.signal(syscall.SIGTERM)
	w.wait().exits(t, 0)

	server.Kill()
	w = start(t, command("worker", server.URL(), "--http", "127.0.0.1:0"))
	metricsAddr(t, w)
	w.signal(syscall.SIGTERM)
	w.wait().exits(t, 130)
}

// What histograms have is what the tasks took.
func TestHistogramsAreOfPickupRunAndAge(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	producer(t, url, "enqueue", "sleep", "--batch", "b", "--repeat", "4", "--payload", sleepOf(300*time.Millisecond)).exits(t, 0)
	time.Sleep(500 * time.Millisecond) // how long they wait
	w := startWorker(t, url, "--http", "127.0.0.1:0", "--concurrency", "4")
	awaitStanding(t, url, "b", "all are done", func(s standing) bool { return s.OK == 4 })
	at := "http://" + metricsAddr(t, w)
	sum := func(name string) (s, n float64) {
		text := get(t, at+"/metrics")
		for line := range strings.Lines(text) {
			if v, is := strings.CutPrefix(line, name+`_sum{type="sleep"} `); is {
				s, _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
			}
			if v, is := strings.CutPrefix(line, name+`_count{type="sleep"} `); is {
				n, _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
			}
		}
		return s, n
	}
	eventually(t, 5*time.Second, func() bool { _, n := sum("weir_task_age_seconds"); return n == 4 }, "all are observed")
	pickup, n := sum("weir_task_pickup_seconds")
	run, m := sum("weir_attempt_duration_seconds")
	age, _ := sum("weir_task_age_seconds")
	if n != 4 || m != 4 || pickup < 4*0.5 || run < 4*0.3 || run > age || age < pickup+run-0.1 {
		t.Errorf("pickup %.3f s of %v, run %.3f s of %v, age %.3f s", pickup, n, run, m, age)
	}
}

// A producer tells of its batch, and of the cluster while there is no worker; one with a
// worker inside of that, too.
func TestAProducerServesItsMetrics(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	p := startProducer(t, url, "run", "sleep", "--http", "127.0.0.1:0", "--repeat", "100000", "--window", "200", "--payload", sleepOf(50*time.Millisecond))
	at := "http://" + metricsAddr(t, p) + "/metrics"
	has := func(lines ...string) func() bool {
		return func() bool {
			text := get(t, at)
			for _, line := range lines {
				if !strings.Contains(text, "\n"+line+"\n") {
					return false
				}
			}
			return true
		}
	}
	eventually(t, long, has("weir_producer_read_records 200", "weir_producer_parked_records 0",
		`weir_workers{state="running"} 0`, `weir_health{check="redis"} 1`, `weir_batches{state="open"} 1`, `weir_batches_missing_tasks 0`,
		`weir_lane_backlog{lane="sleep"} 200`), "without workers it is told what waits")
	startWorker(t, url, "--concurrency", "5")
	eventually(t, long, func() bool { return strings.Contains(get(t, at), `weir_producer_outcomes_total{class="",state="ok"}`) }, "outcomes are counted")
	p.kill()

	alone := startProducer(t, "", "run", "sleep", "--http", "127.0.0.1:0", "--repeat", "10000", "--concurrency", "2", "--payload", sleepOf(200*time.Millisecond))
	at = "http://" + metricsAddr(t, alone) + "/metrics"
	eventually(t, long, func() bool {
		text := get(t, at)
		return strings.Contains(text, `weir_attempts_total{class="",type="sleep",verdict="ok"}`) && strings.Contains(text, "weir_worker_slots 2")
	}, "a worker in the same process tells, too")
}
