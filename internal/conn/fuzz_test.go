package conn

import (
	"net/url"
	"strings"
	"testing"
)

// What is given as Redis' URL is understood or refused; its password is in no error and in
// nothing that is shown.
func FuzzURL(f *testing.F) {
	for _, c := range [][3]string{
		{"redis://user:", "canary-pw", "@host:6379/3"}, {"rediss://:", "canary-pw", "@[::1]:6379?pool_size=7"}, {"redis-sentinel://", "canary-pw", "@a:1,b:2/master/0?sentinel_password=x"},
		{"redis-cluster://u:", "p@ss/w#rd?", "@a:1,b:2"}, {"unix://:", "canary-pw", "@/tmp/redis.sock?db=1"}, {"redis://h:1?sentinel_password=", "canary-pw", "&db=0"},
		{"redis://", "canary-pw", ":6379"}, {"redis://u:", "canary%zz", "@h"}, {"http://u:", "canary-pw", "@h"}, {"redis://u:", "canary\x00pw", "@h"}, {"redis://h?password=", "canary-pw", ""},
	} {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, before, password, after string) {
		raw := before + password + after
		shown := Redact(raw)
		if at, err := parse(raw); err == nil {
			if len(at.addrs) == 0 || at.db < 0 {
				t.Errorf("%q is understood as %+v", raw, at)
			}
			if again, err := parse(shown); err == nil && (again.name != at.name || strings.Join(again.addrs, ",") != strings.Join(at.addrs, ",") || again.db != at.db) {
				t.Errorf("%q is shown as %q, which is elsewhere", raw, shown)
			}
		}
		// A password as such, in its place, and long enough not to be in anything else.
		for _, scheme := range []string{"redis://", "redis-cluster://", "redis-sentinel://"} {
			secret := "canary" + url.PathEscape(password)
			raw := scheme + "user:" + secret + "@host:1/" + after
			if _, err := parse(raw); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%q: the error has the password: %v", raw, err)
			}
			if !strings.Contains(after, "canary") && strings.Contains(Redact(raw), "canary") {
				t.Errorf("%q is shown as %q", raw, Redact(raw))
			}
		}
	})
}
