package integration_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
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
	eventually(t, 20*time.Second, func() bool { return c.outcomesSoFar(redis) > before+50 }, "the third one works on")
	docker(t, "restart", "--time", "1", redis)
	docker(t, "start", workers[1])
	before = c.outcomesSoFar(redis)
	eventually(t, 40*time.Second, func() bool { return c.outcomesSoFar(redis) > before+50 }, "work flows again after Redis came back")
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
	uiPort  int
}

// newCompose builds the image and brings down at the end what the test has brought up.
func newCompose(t *testing.T) *compose {
	if os.Getenv("WEIR_TEST_DOCKER") == "" {
		t.Skip("docker-compose.yml is not tested: set WEIR_TEST_DOCKER=1 where a container engine runs")
	}
	c := &compose{t: t, command: []string{"docker", "compose"}, uiPort: freePort(t)}
	c.project = fmt.Sprintf("weir-test-%d-%d", os.Getpid(), c.uiPort)
	if exec.Command("docker", "compose", "version").Run() != nil {
		c.command = []string{"docker-compose"}
	}
	c.command = append(c.command, "--project-directory", "..", "--file", "../docker-compose.yml",
		"--project-name", c.project)
	c.env = append(cleanEnv(), fmt.Sprintf("WEIR_UI_PORT=%d", c.uiPort), "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0")
	c.must("build", "--quiet", "ui")
	t.Cleanup(func() { c.must("down", "--volumes", "--timeout", "5") })
	return c
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
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
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/asynq/api/queues", c.uiPort))
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
