package conn

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// answers are the errors Redis itself gives, by their first words, and what
// they mean to the person who started weir. An empty cause keeps Redis' words.
var answers = []struct {
	prefix, cause, remedy string
	permanent             bool
}{
	{"WRONGPASS", "wrong user or password", "check what stands before the @ of the URL", true},
	{"ERR invalid password", "wrong password", "check what stands before the @ of the URL", true},
	{"NOAUTH", "it asks for a password", "write it into the URL: redis://:PASSWORD@host", true},
	{"NOPERM", "", "its ACL must allow this user weir's and asynq's keys: redis-cli ACL SETUSER NAME ~weir:* ~asynq:* &* +@all", true},
	{"DENIED", "it is in protected mode and refuses other machines", "give it a password: redis-cli CONFIG SET requirepass PASSWORD", true},
	{"ERR AUTH", "", "", true},
	{"ERR DB index", "it has no database of that number", "check the number at the end of the URL", true},
	{"ERR invalid DB index", "it has no database of that number", "check the number at the end of the URL", true},
	{"ERR SELECT is not allowed in cluster mode", "it is a node of a Redis Cluster", "write redis-cluster://", true},
	{"ERR This instance has cluster support disabled", "it is not a Redis Cluster", "write redis://", true},
	{"ERR unknown command 'sentinel'", "it is not a Sentinel", "write redis://, or the Sentinels' port (26379)", true},
	{"ERR unknown command 'SENTINEL'", "it is not a Sentinel", "write redis://, or the Sentinels' port (26379)", true},
	{"MOVED", "it is a node of a Redis Cluster", "write redis-cluster://", true},
	{"ASK", "it is a node of a Redis Cluster", "write redis-cluster://", true},
	{"READONLY", "it is a read-only replica", "give the master's address, or redis-sentinel://", false},
	{"LOADING", "it is still loading its data from disk", "", false},
	{"MASTERDOWN", "it is a replica that has lost its master", "give the master's address, or redis-sentinel://", false},
	{"OOM", "it is out of memory (maxmemory)", "give it more: redis-cli CONFIG SET maxmemory 4gb; or lower --window", false},
	{"MISCONF", "it refuses writes because it cannot save to disk", "free disk space where Redis runs and look into its log", false},
	{"CLUSTERDOWN", "", "see redis-cli CLUSTER INFO", false},
	{"NOREPLICAS", "it refuses writes because it has too few replicas", "see redis-cli INFO replication", false},
	{"BUSY", "a script has been running in it for seconds", "see its log; redis-cli SCRIPT KILL ends one that has not written", false},
	{"ERR max number of clients reached", "it has as many clients as it allows", "allow more: redis-cli CONFIG SET maxclients 20000", false},
}

func diagnoseAnswer(s string) *Error {
	for _, a := range answers {
		if strings.HasPrefix(s, a.prefix) {
			e := &Error{Cause: a.cause, Remedy: a.remedy, Permanent: a.permanent}
			if e.Cause == "" {
				_, e.Cause, _ = strings.Cut(s, " ")
			}
			return e
		}
	}
	return &Error{Cause: s}
}

func credentials(err redis.Error) bool {
	return redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOAUTH")
}
