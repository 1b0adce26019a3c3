package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// TestComposeRunsABatchScalesAndIsTornDown brings up the very docker-compose.yml
// that users get: Redis, two workers, the web UI. It needs a container engine:
// WEIR_TEST_DOCKER=1 says that there is one.
func TestComposeRunsABatchScalesAndIsTornDown(t *testing.T) {
	c := newCompose(t)
	c.must("up", "--detach", "--no-build", "redis", "worker", "ui")

	c.runs(10_000, 0)
	if n := c.workers(); n != 2 {
		t.Errorf("%d workers after up, want 2", n)
	}
	c.must("up", "--detach", "--no-build", "--scale", "worker=4", "redis", "worker", "ui")
	if n := c.workers(); n != 4 {
		t.Errorf("%d workers after --scale worker=4", n)
	}

	redis := strings.TrimSpace(c.must("ps", "-q", "redis"))
	if out, err := exec.Command("docker", "exec", redis, "redis-cli", "DBSIZE").CombinedOutput(); !strings.Contains(string(out), "NOAUTH") {
		t.Errorf("Redis without its password: %s, %v", out, err)
	}

	// While a batch runs, asynqmon shows its queue.
	running := make(chan struct{})
	go func() {
		defer close(running)
		c.runs(2_000, 0.5)
	}()
	eventually(t, time.Minute, func() bool { return c.queueSize("sleep") > 0 }, "asynqmon shows the queue of the batch that runs")
	<-running
}

// TestComposeLosesNothingInTrouble: three workers on a network; one is cut off from it
// for 30 s, one is killed, Redis is restarted on its volume, and then all workers are
// replaced, as a new image would have it, while a batch runs.
func TestComposeLosesNothingInTrouble(t *testing.T) {
	c := newCompose(t)
	c.must("up", "--detach", "--no-build", "--scale", "worker=3", "redis", "worker")
	const n = 15_000
	done := make(chan []batch.Outcome, 1)
	go func() { done <- c.runs(n, 1) }()
	redis := strings.TrimSpace(c.must("ps", "-q", "redis"))
	eventually(t, time.Minute, func() bool { return c.outcomesSoFar(redis) > 100 }, "the batch runs")

	workers := strings.Fields(c.must("ps", "-q", "worker"))
	network := c.project + "_default"
	cut := time.Now()
	docker(t, "network", "disconnect", network, workers[0])
	docker(t, "kill", "--signal", "KILL", workers[1])
	before := c.outcomesSoFar(redis)
	eventually(t, long, func() bool { return c.outcomesSoFar(redis) > before+50 }, "the third one works on")
	docker(t, "restart", "--time", "1", redis)
	docker(t, "start", workers[1])
	before = c.outcomesSoFar(redis)
	eventually(t, long, func() bool { return c.outcomesSoFar(redis) > before+50 }, "work flows again after Redis came back")
	time.Sleep(time.Until(cut.Add(30 * time.Second))) // how long it is cut off
	docker(t, "network", "connect", network, workers[0])

	c.must("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "--scale", "worker=3", "worker")
	for _, id := range strings.Fields(c.must("ps", "-q", "worker")) {
		if slices.Contains(workers, id) {
			t.Errorf("worker %s was not replaced", id)
		}
	}
	allOK(t, <-done, n)
}

// TestComposesProfileWatchesARealRun brings up what the profile observability has: Prometheus
// finds each container by itself and takes the rules, Alertmanager is known to it, and every
// panel of Grafana's dashboard has something to show of a batch that runs and fails. Grafana
// itself is among them where its image is here.
func TestComposesProfileWatchesARealRun(t *testing.T) {
	c := newCompose(t)
	services := []string{"redis", "worker", "ui", "prometheus", "alertmanager"}
	grafana := exec.Command("docker", "image", "inspect", c.image("grafana")).Run() == nil
	if grafana {
		services = append(services, "grafana")
	}
	t.Logf("Grafana's own container is among them: %v", grafana)
	c.must(append([]string{"--profile", "observability", "up", "--detach", "--no-build"}, services...)...)

	prometheus := fmt.Sprintf("http://127.0.0.1:%d/api/v1/", c.ports["PROMETHEUS"])
	values := func(expr string) int {
		var answer struct {
			Data struct{ Result []any }
		}
		if ask(prometheus+"query?query="+url.QueryEscape(expr), &answer) != nil {
			return 0
		}
		return len(answer.Data.Result)
	}
	eventually(t, time.Minute, func() bool { return values(`up{job="weir"} == 1`) == 3 }, "Prometheus sees two workers and the web UI")
	c.must("up", "--detach", "--no-build", "--no-recreate", "--scale", "worker=3", "redis", "worker")
	eventually(t, time.Minute, func() bool { return values(`up{job="weir"} == 1`) == 4 }, "Prometheus sees the worker that came")
	eventually(t, 30*time.Second, func() bool {
		var answer struct {
			Data struct{ ActiveAlertmanagers []any }
		}
		return ask(prometheus+"alertmanagers", &answer) == nil && len(answer.Data.ActiveAlertmanagers) == 1
	}, "Prometheus knows Alertmanager")
	if statusOf(fmt.Sprintf("http://127.0.0.1:%d/-/ready", c.ports["ALERTMANAGER"])) != 200 {
		t.Error("Alertmanager is not ready")
	}

	of := func(args ...string) { c.must(append([]string{"run", "--rm", "-T", "producer"}, args...)...) }
	of("lane", "governed", "--max", "50")
	of("enqueue", "sleep", "--payload", `{"task_number":1,"fail":"hang"}`, "--timeout", "200ms", "--retries", "0", "--repeat", "2")
	of("enqueue", "sleep", "--payload", sleepOf(10*time.Second), "--repeat", "5000", "--window", "5000")
	of("enqueue", "sleep", "--payload", `{"task_number":1,"seconds":1,"fail":"expected"}`, "--retries", "0", "--repeat", "5000", "--window", "5000", "--lane", "governed")
	// Nothing stands, nobody died and all is ready.
	quiet := []string{"Lanes that stand", "Rescued tasks", "Not ready"}
	var empty []string
	shown := func() bool {
		empty = nil
		for _, p := range dashboard(t) {
			if values(p.Expr) == 0 && !slices.Contains(quiet, p.Title) {
				empty = append(empty, p.Title+": "+p.Expr)
			}
		}
		return len(empty) == 0
	}
	t.Cleanup(func() {
		if len(empty) > 0 {
			t.Logf("show nothing:\n%s", strings.Join(empty, "\n"))
		}
	})
	eventually(t, 90*time.Second, shown, "every panel shows something")
	if grafana {
		eventually(t, time.Minute, func() bool {
			return statusOf(fmt.Sprintf("http://127.0.0.1:%d/api/dashboards/uid/weir", c.ports["GRAFANA"])) == 200
		}, "Grafana has the dashboard")
	}
}

// image is what a service of docker-compose.yml runs.
func (c *compose) image(service string) string {
	c.t.Helper()
	var file struct {
		Services map[string]struct{ Image string }
	}
	must(c.t, yaml.Unmarshal([]byte(content(c.t, "../docker-compose.yml")), &file))
	return file.Services[service].Image
}

// outcomesSoFar is how many outcomes the one batch has; 0 while Redis does not answer.
func (c *compose) outcomesSoFar(redis string) int {
	const script = `local n = 0 for _, k in ipairs(redis.call('KEYS', 'weir:*:batch')) do n = n + redis.call('HGET', k, 'ok') end return n`
	out, err := exec.Command("docker", "exec", redis, "sh", "-c", `REDISCLI_AUTH=$(cat /run/weir/password) redis-cli EVAL "$0" 0`, script).Output()
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return n
}

func docker(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
}

// compose is a docker-compose project of this test's own.
type compose struct {
	t       *testing.T
	command []string
	env     []string
	project string
	ports   map[string]int // on this host, by the name between WEIR_ and _PORT
}

// newCompose builds the image and brings down at the end what the test has brought up.
func newCompose(t *testing.T) *compose {
	if os.Getenv("WEIR_TEST_DOCKER") == "" {
		t.Skip("docker-compose.yml is not tested: set WEIR_TEST_DOCKER=1 where a container engine runs")
	}
	c := &compose{t: t, command: []string{"docker", "compose"}, env: cleanEnv(), ports: make(map[string]int)}
	for _, name := range []string{"UI", "PROMETHEUS", "ALERTMANAGER", "GRAFANA"} {
		c.ports[name] = conntest.FreePort(t)
		c.env = append(c.env, fmt.Sprintf("WEIR_%s_PORT=%d", name, c.ports[name]))
	}
	c.project = fmt.Sprintf("weir-test-%d-%d", os.Getpid(), c.ports["UI"])
	if exec.Command("docker", "compose", "version").Run() != nil {
		c.command = []string{"docker-compose"}
	}
	c.command = append(c.command, "--project-directory", "..", "--file", "../docker-compose.yml",
		"--project-name", c.project)
	c.env = append(c.env, "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0")
	c.must("build", "--quiet", "ui")
	t.Cleanup(func() { c.must("--profile", "observability", "down", "--volumes", "--timeout", "5") })
	return c
}

func (c *compose) run(args ...string) (stdout, stderr string, err error) {
	var out, errs strings.Builder
	cmd := exec.Command(c.command[0], append(append([]string{}, c.command[1:]...), args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (c *compose) must(args ...string) string {
	c.t.Helper()
	out, errs, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("%v %v: %v\n%s", c.command[0], args, err, tail(errs, 4000))
	}
	return out
}

// runs a batch of sleeps to its end through `compose run producer`.
func (c *compose) runs(n int, seconds float64) []batch.Outcome {
	out, errs, err := c.run("run", "--rm", "-T", "producer", "run", "sleep",
		"--repeat", fmt.Sprint(n), "--payload", fmt.Sprintf(`{"task_number":{n},"seconds":%v}`, seconds))
	if err != nil {
		c.t.Errorf("producer run: %v\n%s", err, tail(errs, 4000))
		return nil
	}
	all := outcomes(c.t, out)
	if len(all) != n {
		c.t.Errorf("%d outcomes of %d", len(all), n)
	}
	c.t.Logf("%d tasks of %v s:\n%s", n, seconds, tail(errs, 500))
	return all
}

func (c *compose) workers() int {
	return len(strings.Fields(c.must("ps", "-q", "worker")))
}

// queueSize is how many tasks asynqmon's API says a queue holds.
func (c *compose) queueSize(name string) int {
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/asynq/api/queues", c.ports["UI"]))
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	var answer struct {
		Queues []struct {
			Queue string `json:"queue"`
			Size  int    `json:"size"`
		} `json:"queues"`
	}
	if json.NewDecoder(r.Body).Decode(&answer) != nil {
		return 0
	}
	for _, q := range answer.Queues {
		if q.Queue == name {
			return q.Size
		}
	}
	return 0
}
