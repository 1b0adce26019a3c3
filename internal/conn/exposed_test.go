package conn

import "testing"

func TestExposedIsBeyondThisHostWithNeitherPasswordNorTLS(t *testing.T) {
	for url, want := range map[string]bool{
		"redis://redis":                               true,
		"redis://redis:6379/3":                        true,
		"redis://10.0.0.1":                            true,
		"redis://[2001:db8::1]:6379":                  true,
		"redis://0.0.0.0":                             true,
		"redis://localhost.example":                   true,
		"redis-cluster://127.0.0.1:7000,10.0.0.1":     true,
		"redis-sentinel://10.0.0.1/main":              true,
		"redis-sentinel://s/main?sentinel_password=x": true, // that is not the master's
		"rediss://redis?insecure_skip_verify=true":    true,
		"rediss://redis?insecure_skip_verify=false":   false,
		"rediss://:x@redis?insecure_skip_verify=true": false,
		"rediss://localhost?insecure_skip_verify=1":   false,
		"redis://:secret@redis":                       false,
		"redis://user:secret@redis":                   false,
		"redis://redis?password_file=/run/secret":     false,
		"rediss://redis":                              false,
		"rediss-cluster://a,b":                        false,
		"redis://":                                    false,
		"redis://localhost":                           false,
		"redis://LOCALHOST.:6380":                     false,
		"redis://a.localhost":                         false,
		"redis://127.9.9.9":                           false,
		"redis://[::1]":                               false,
		"redis://[::ffff:127.0.0.1]":                  false,
		"redis-cluster://127.0.0.1:1,localhost:2":     false,
		"unix:///run/redis.sock":                      false,
	} {
		if got := Exposed(url); got != want {
			t.Errorf("%s: %v, want %v", url, got, want)
		}
	}
}
