package integration_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// usersFile has the users of deploy/redis-users.acl, whose passwords are their names. The
// default one stays, for the test.
func usersFile(t *testing.T) string {
	t.Helper()
	given, err := os.ReadFile("../deploy/redis-users.acl")
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for line := range strings.Lines(string(given)) {
		name := strings.Fields(line)[1]
		hash := sha256.Sum256([]byte(name))
		line = strings.Replace(line, "#SHA256-OF-ITS-PASSWORD", "#"+hex.EncodeToString(hash[:]), 1)
		users.WriteString(strings.Replace(line, "user default off", "user default on nopass ~* &* +@all", 1))
	}
	file := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte(users.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// guarded starts a Redis with those users.
func guarded(t *testing.T) (admin redis.UniversalClient, as func(user string) (url string)) {
	t.Helper()
	server := conntest.Server(t, "--aclfile", usersFile(t))
	return server.Client(), func(user string) string { return "redis://" + user + ":" + user + "@" + server.Addr() }
}

// Each user of deploy/redis-users.acl may do what its part of weir does: nothing is
// refused to it.
func TestUsersOfRedisHaveTheRightsTheyNeed(t *testing.T) {
	t.Parallel()
	admin, as := guarded(t)
	worker, mine, follower, ui := as("weir-worker"), as("weir-producer"), as("weir-follower"), as("weir-ui")
	w := startWorker(t, worker, "--name", "w", "--egress", "any")
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	producer(t, mine, "run", "http", "--batch", "h", "--repeat", "50", "--payload", `{"url":"`+service.URL+`/{n}"}`, "--priority", "high").exits(t, 1)
	producer(t, mine, "enqueue", "sleep", "--batch", "f", "--repeat", "20", "--payload", `{"task_number":{n},"seconds":0,"fail":"unexpected"}`, "--retries", "1", "--backoff", "1ms").exits(t, 0)
	producer(t, follower, "follow", "f").exits(t, 1)
	producer(t, follower, "status", "f").exits(t, 0)
	producer(t, follower, "status").exits(t, 0)
	producer(t, follower, "failures", "f").exits(t, 0)
	producer(t, follower, "lanes").exits(t, 0)
	producer(t, follower, "explain", "f", "0").exits(t, 0)
	producer(t, follower, "top", "--once").exits(t, 0)
	for _, user := range []string{follower, mine, worker} {
		producer(t, user, "doctor").exits(t, 0)
	}
	producer(t, mine, "retry", "f").exits(t, 1)
	producer(t, mine, "lane", "sleep", "--max", "7", "--shards", "3").exits(t, 0)
	producer(t, mine, "enqueue", "sleep", "--batch", "x", "--repeat", "5", "--payload", sleepOf(0), "--max-unread", "9").exits(t, 0)
	producer(t, mine, "follow", "x", "--out", filepath.Join(t.TempDir(), "out")).exits(t, 0)
	producer(t, mine, "enqueue", "sleep", "--batch", "y", "--repeat", "5", "--payload", `{"task_number":1,"seconds":60}`).exits(t, 0)
	for _, command := range []string{"pause", "resume", "cancel"} {
		producer(t, mine, command, "y").exits(t, 0)
	}
	producer(t, mine, "run", "square", "--batch", "in", "--payload", `{"n":3}`, "--in", "1s", "--priority", "low").exits(t, 0)
	producer(t, mine, "schedule", "add", "tick", "--cron", "@every 1s", "--", "run", "square", "--payload", `{"n":3}`).exits(t, 0)
	daemon := startProducer(t, mine, "schedule", "run")
	daemon.logs("a run of a schedule begins")
	for _, command := range []string{"pause", "resume", "remove"} {
		producer(t, mine, "schedule", command, "tick").exits(t, 0)
	}
	producer(t, follower, "schedule", "list").exits(t, 0)
	daemon.signal(15)
	daemon.wait().exits(t, 0)
	w.kill()
	startWorker(t, worker, "--name", "w")
	producer(t, mine, "run", "square", "--batch", "s", "--repeat", "100", "--payload", `{"n":3}`).exits(t, 0)

	web := startProducer(t, ui, "ui", "--addr", "127.0.0.1:0")
	web.logs("web UI on ")
	at := regexp.MustCompile(`web UI on (\S+)`).FindStringSubmatch(web.stderr.String())[1]
	for _, path := range []string{
		"/asynq/api/queues", "/asynq/api/servers", "/asynq/api/redis_info", "/asynq/api/queues/sleep",
		"/api/batches", "/api/batches/h", "/api/batches/f/failures", "/api/batches/f/tasks/0", "/api/batches/h/tasks/0",
		"/api/lanes", "/api/lanes/sleep", "/api/workers", "/api/redis",
	} {
		get(t, at+path)
	}
	for _, entry := range refused(t, admin) {
		t.Errorf("refused: %v", entry)
	}
}

// ... of a cluster too, which its clients ask for more than one Redis.
func TestUsersOfAClusterHaveTheRightsTheyNeed(t *testing.T) {
	t.Parallel()
	cluster := conntest.Cluster(t, 3, "--aclfile", usersFile(t))
	as := func(user string) string { return strings.Replace(cluster.URL(), "://", "://"+user+":"+user+"@", 1) }
	worker, mine, follower, ui := as("weir-worker"), as("weir-producer"), as("weir-follower"), as("weir-ui")
	startWorker(t, worker, "--name", "w")
	producer(t, mine, "lane", "square", "--shards", "6").exits(t, 0)
	producer(t, mine, "run", "square", "--batch", "s", "--repeat", "20", "--payload", `{"n":3}`).exits(t, 0)
	producer(t, follower, "status", "s").exits(t, 0)
	for _, user := range []string{follower, mine, worker} {
		producer(t, user, "doctor").exits(t, 0)
	}
	web := startProducer(t, ui, "ui", "--addr", "127.0.0.1:0")
	web.logs("web UI on ")
	at := regexp.MustCompile(`web UI on (\S+)`).FindStringSubmatch(web.stderr.String())[1]
	for _, path := range []string{"/asynq/api/queues", "/asynq/api/redis_info", "/api/batches", "/api/lanes/square", "/api/workers", "/api/redis"} {
		get(t, at+path)
	}
	for _, node := range cluster.Nodes {
		for _, entry := range refused(t, node.Client()) {
			t.Errorf("refused: %v", entry)
		}
	}
}

// denial is how Redis refuses what a user may not do, itself and in a script.
var denial = regexp.MustCompile(`NOPERM|ACL failure|can't run this command|DEBUG command not allowed`)

// ... and no more than that: nothing of the server, of other keys, or of what it only reads.
func TestUsersOfRedisHaveNoOtherRights(t *testing.T) {
	t.Parallel()
	_, as := guarded(t)
	nobody := []string{
		"flushall", "flushdb", "keys *", "scan 0", "randomkey", "config set maxmemory 1", "config rewrite", "shutdown nosave", "debug sleep 0",
		"acl list", "acl setuser weir-ui +@all", "save", "bgrewriteaof", "replicaof no one", "module list", "script flush", "function flush",
		"client kill addr 127.0.0.1:1", "monitor", "swapdb 0 1", "sort weir:a", "migrate 127.0.0.1 1 weir:a 0 1", "restore weir:a 0 x",
		"get mine", "set mine 1", "publish mine x", "eval return(redis.call('set',KEYS[1],1)) 1 mine", "latency reset", "slowlog get",
	}
	readers := []string{
		"set weir:a 1", "del asynq:queues", "lpush asynq:{x}:pending 1", "hset weir:{b}:batch n 1", "xtrim weir:{b}:out maxlen 0", "expire weir:a 1",
		"eval return(redis.call('set',KEYS[1],1)) 1 weir:a", "zremrangebyscore asynq:{x}:lease 0 1", "zadd asynq:servers 1 x", "publish weir:wake x", "publish asynq:cancel x",
	}
	for user, denied := range map[string][]string{
		"weir-worker": nobody, "weir-producer": nobody, "weir-follower": append(readers, nobody...), "weir-ui": append(readers, nobody...),
	} {
		options, err := redis.ParseURL(as(user))
		if err != nil {
			t.Fatal(err)
		}
		c := redis.NewClient(options)
		defer c.Close()
		for _, command := range denied {
			var args []any
			for _, word := range strings.Fields(command) {
				args = append(args, word)
			}
			err := c.Do(t.Context(), args...).Err()
			if err == nil || !denial.MatchString(err.Error()) {
				t.Errorf("%s may %s: %v", user, command, err)
			}
		}
		if err := c.LLen(t.Context(), "asynq:{x}:pending").Err(); err != nil {
			t.Errorf("%s may not read: %v", user, err)
		}
	}
}

// refused is what Redis' log of ACLs has.
func refused(t *testing.T, admin redis.UniversalClient) (entries []any) {
	t.Helper()
	entries, err := admin.Do(t.Context(), "acl", "log").Slice()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
