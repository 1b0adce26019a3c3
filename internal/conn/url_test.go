package conn

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestURLsUnderstood(t *testing.T) {
	for _, c := range []struct {
		raw      string
		addrs    string
		user, pw string
		db       int
		master   string
		redacted string // empty: as raw
	}{
		{raw: "redis://localhost", addrs: "localhost:6379"},
		{raw: "redis://", addrs: "localhost:6379"},
		{raw: "redis://:7000", addrs: "localhost:7000"},
		{raw: "REDIS://h:1/", addrs: "h:1", redacted: "redis://h:1/"},
		{raw: "redis://my_redis:6380/3", addrs: "my_redis:6380", db: 3},
		{raw: "redis://h:1?db=4", addrs: "h:1", db: 4},
		{raw: "redis://[::1]:6380/0", addrs: "[::1]:6380"},
		{raw: "redis://[::1]", addrs: "[::1]:6379"},
		{raw: "redis://:pw@h", addrs: "h:6379", pw: "pw", redacted: "redis://:***@h"},
		{raw: "redis://@h", addrs: "h:6379", redacted: "redis://h"},
		{raw: "redis://bob:p%40%2Fw@h:1/2", addrs: "h:1", user: "bob", pw: "p@/w", db: 2, redacted: "redis://bob:***@h:1/2"},
		{raw: "redis://bob:p@w+x:y@h:1", addrs: "h:1", user: "bob", pw: "p@w+x:y", redacted: "redis://bob:***@h:1"},
		{raw: "rediss://u:p@h?server_name=x&insecure_skip_verify=true&pool_size=9", addrs: "h:6379", user: "u", pw: "p",
			redacted: "rediss://u:***@h?server_name=x&insecure_skip_verify=true&pool_size=9"},
		{raw: "unix:///tmp/r.sock", addrs: "/tmp/r.sock"},
		{raw: "unix:///tmp/r%20@s.sock?db=2", addrs: "/tmp/r @s.sock", db: 2},
		{raw: "unix://u:p@/tmp/r.sock", addrs: "/tmp/r.sock", user: "u", pw: "p", redacted: "unix://u:***@/tmp/r.sock"},
		{raw: "redis-sentinel://h1:1,h2/weir", addrs: "h1:1,h2:26379", master: "weir"},
		{raw: "redis-sentinel://u:p@h1:1,[::2]:3/weir/5?sentinel_password=a+b%26", addrs: "h1:1,[::2]:3", user: "u", pw: "p", db: 5,
			master: "weir", redacted: "redis-sentinel://u:***@h1:1,[::2]:3/weir/5?sentinel_password=***"},
		{raw: "redis-cluster://h1:7000,h2:7001", addrs: "h1:7000,h2:7001"},
		{raw: "rediss-cluster://:p@h1/0", addrs: "h1:6379", pw: "p", redacted: "rediss-cluster://:***@h1/0"},
	} {
		t.Run(c.raw, func(t *testing.T) {
			got, err := parse(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if a := strings.Join(got.addrs, ","); a != c.addrs || got.user != c.user || got.password != c.pw ||
				got.db != c.db || got.master != c.master {
				t.Errorf("understood as %+v", got)
			}
			want := c.redacted
			if want == "" {
				want = c.raw
			}
			if r := Redact(c.raw); r != want {
				t.Errorf("redacted %q, want %q", r, want)
			}
			client, err := Open(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
		})
	}
}

func TestOptions(t *testing.T) {
	got, err := parse("redis-sentinel://h/m?dial_timeout=1500ms&read_timeout=7&write_timeout=1m&pool_size=9" +
		"&sentinel_username=u&sentinel_password=a+b%26c")
	if err != nil {
		t.Fatal(err)
	}
	o := got.universal()
	if o.DialTimeout != 1500*time.Millisecond || o.ReadTimeout != 7*time.Second || o.WriteTimeout != time.Minute ||
		o.PoolSize != 9 || o.SentinelUsername != "u" || o.SentinelPassword != "a+b&c" {
		t.Errorf("options %+v", o)
	}
	if got, err = parse("redis://h"); err != nil {
		t.Fatal(err)
	}
	if o := got.universal(); o.PoolSize != DefaultPoolSize || o.ReadTimeout != DefaultTimeout || !o.ContextTimeoutEnabled {
		t.Errorf("defaults %+v", o)
	}
}

// A SECRET in any of them must not come out.
func TestURLsRefused(t *testing.T) {
	for _, c := range []struct{ raw, says string }{
		{"", "empty"},
		{" ", "empty"},
		{"localhost:6379", "no scheme"},
		{"u:SECRET@h", "no scheme"},
		{"http://u:SECRET@h", "unknown scheme"},
		{"redis://h:SECRET", "port is not a number"},
		{"redis://h:0", "port is not a number"},
		{"redis://h:65536", "port is not a number"},
		{"redis://u:SECRET:1", "too many colons"},
		{"redis://::1", "too many colons"},
		{"redis://[SECRET]:1", "not an IPv6 address"},
		{"redis://h:1 ", "space"},
		{"redis://h:1\n", "space or control character"},
		{"redis://u@h", "user without a password"},
		{"redis://u:@h", "user without a password"},
		{"redis://:SECRET@h?password_file=/x", "two passwords"},
		{"redis://u@h?password_file=/no/such", "option password_file: open /no/such: no such file"},
		{"redis://h?password_file=/dev/null", "no regular file"},
		{"redis://u:SECRET%zz@h", "not an escape"},
		{"redis://u:SEC#SECRET@h", "write it as %23"},
		{"redis://u:a/SECRET@h", "inside a password"},
		{"redis://u:a?SECRET@h", "inside a password"},
		{"redis://u:a?SECRET=1@h", "inside a password"},
		{"redis://h/SECRET", "database is not a number"},
		{"redis://h/-1", "database is not a number"},
		{"redis://h/1?db=2", "two databases"},
		{"redis://a,b", "more than one host"},
		{"redis://h$", "no host name has"},
		{"redis://h?poolsize=3", "option poolsize: is unknown"},
		{"redis://h?pool_size=SECRET", "option pool_size"},
		{"redis://h?pool_size=0", "option pool_size"},
		{"redis://h?read_timeout=-1", "option read_timeout"},
		{"redis://h?read_timeout=0s", "option read_timeout"},
		{"redis://h?read_timeout=1s&read_timeout=2s", "given twice"},
		{"redis://h?db=", "has no value"},
		{"redis://h?ca=/x", "for TLS only"},
		{"rediss://h?ca=/no/such.pem", "/no/such.pem: no such file"},
		{"rediss://h?ca=/dev/null", "holds no PEM certificate"},
		{"rediss://h?cert=/x", "cert and key go together"},
		{"rediss://h?cert=/dev/null&key=/dev/null", "options cert and key"},
		{"rediss://h?insecure_skip_verify=perhaps", "neither true nor false"},
		{"redis://h?sentinel_password=SECRET", "for redis-sentinel:// only"},
		{"redis-sentinel://h/m?sentinel_password=a&SECRET", "%26"},
		{"redis-sentinel://h/m?sentinel_username=u", "needs sentinel_password"},
		{"redis-sentinel://h", "no master name"},
		{"redis-sentinel:///m", "no host"},
		{"redis-sentinel://h1,h2:SECRET/m", "host 2 of 2: the port"},
		{"redis-cluster://", "no host"},
		{"redis-cluster://h1,,h2", "host 2 of 3: no host"},
		{"redis-cluster://h/1", "database 0 only"},
		{"unix://tmp/r.sock", "unix:///path"},
		{"unix://", "no path"},
	} {
		t.Run(c.raw, func(t *testing.T) {
			_, err := Open(c.raw)
			if err == nil {
				t.Fatal("accepted")
			}
			msg := err.Error()
			if !strings.HasPrefix(msg, "redis URL: ") || !strings.Contains(msg, c.says) || strings.Contains(msg, "\n") {
				t.Errorf("says %q, want %q in it", msg, c.says)
			}
			for _, s := range []string{msg, Redact(c.raw), Explain(fmt.Errorf("x"), c.raw).Error()} {
				if strings.Contains(s, "SECRET") {
					t.Errorf("leaks: %s", s)
				}
			}
		})
	}
}

// Passwords of all kinds, escaped or not, in URLs good and bad: what comes out
// holds none of their pieces.
func TestNoPieceOfAPasswordLeaks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"QUARK", "ZEBRA", "VORTEX"}
	const marks = `/?#@%&=+:,;[] "\~!$*()'<>|^` + "`"
	random := func() (pw string) {
		for i, p := range pieces {
			if i > 0 {
				for range 1 + r.IntN(3) {
					pw += string(marks[r.IntN(len(marks))])
				}
			}
			pw += p
		}
		return pw
	}
	before := []string{"redis://:", "redis://bob:", "rediss://bob:", "unix://bob:", "redis-sentinel://:", "redis-cluster://:", "valkey://:", "bob:"}
	after := []string{"@host:6379/0", "@/tmp/x.sock", "@host:1/name?sentinel_username=x", "@h:1,h:2", "@h:p", "@", "", "@h?pool_size=x", "@h:1?nope=1"}
	for range 5000 {
		pw := random()
		escaped := url.PathEscape(pw)
		escaped = strings.NewReplacer("@", "%40", ":", "%3A", "&", "%26", "+", "%2B", "=", "%3D").Replace(escaped)
		b, a := before[r.IntN(len(before))], after[r.IntN(len(after))]
		raws := []string{b + escaped + a}
		if strings.Contains(a, "@") || !strings.Contains(pw, "@") {
			// Else what follows the last @ is as good a host as any.
			raws = append(raws, b+pw+a)
		}
		for _, raw := range raws {
			out := []string{Redact(raw)}
			if got, err := parse(raw); err != nil {
				out = append(out, err.Error())
			} else if got.password == "" {
				t.Fatalf("%s: accepted without its password", raw)
			}
			for _, o := range out {
				if slices.ContainsFunc(pieces, func(p string) bool { return strings.Contains(o, p) }) {
					t.Fatalf("%s: leaks %s", raw, o)
				}
			}
		}
		good := "redis://bob:" + escaped + "@host:6379/0"
		if got, err := parse(good); err != nil || got.password != pw {
			t.Fatalf("%s: password %q, %v", good, got.password, err)
		}
		if e := Explain(fmt.Errorf("dial with %s", pw), good).Error(); strings.Contains(e, "QUARK") {
			t.Fatalf("leaks: %s", e)
		}
	}
}
