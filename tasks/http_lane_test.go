package tasks

import (
	"regexp"
	"strings"
	"testing"
)

func TestTheLaneOfAURLIsItsService(t *testing.T) {
	for lane, urls := range map[string][]string{
		"example.com": {
			"http://example.com", "http://example.com/", "HTTPS://EXAMPLE.com:443/a?b#c", "http://example.com.", "http://example.com:80",
			"http://example.com:/", "http://example.com:0080", "http://user:secret@example.com", "http://a%40b@example.com",
			"http://ｅｘａｍｐｌｅ.com", "http://example。com", "http://example.com?http://other:1", "http://EXAMPLE.COM.:80/",
		},
		"example.com_8080":           {"http://example.com:8080", "https://Example.Com.:08080/x"},
		"example.com_443":            {"http://example.com:443"},
		"example.com_80":             {"https://example.com:80"},
		"xn--bcher-kva.example":      {"http://bücher.example", "http://BÜCHER.example.", "http://xn--bcher-kva.example", "http://XN--bcher-KVA.example", "http://b%C3%BCcher.example", "http://bu\u0308cher.example"},
		"xn--bcher-kva.example_8080": {"http://bücher.example:8080"},
		"10.0.0.1":                   {"http://10.0.0.1", "http://10.0.0.1.", "http://[::ffff:10.0.0.1]", "http://[::ffff:a00:1]:80", "http://１０.0.0.1"},
		"10.0.0.1_81":                {"http://10.0.0.1:81"},
		"ipv6---1":                   {"http://[::1]", "http://[0:0:0:0:0:0:0:1]:80/", "https://[::0001]:443"},
		"ipv6-2001-db8--1_8080":      {"http://[2001:DB8::0:1]:8080", "http://[2001:db8:0:0:0:0:0.0.0.1]:8080"},
		"my_service":                 {"http://my_service", "http://MY_service:80"},
		"my_80.":                     {"http://my_80", "https://my_80.:443"},
		"my_80._8080":                {"http://my_80:8080"},
		"my_80":                      {"https://my:80"},
		"ipv6---1.":                  {"http://ipv6---1"},
		"ipv6-test":                  {"http://ipv6-test"},
		"ipv6-ab.example":            {"http://ipv6-ab.example"},
		"r3---sn.googlevideo.com":    {"http://r3---sn.googlevideo.com"},
		"1.example":                  {"http://1.example"},
	} {
		for _, u := range urls {
			got, err := serviceLane(u)
			if got != lane || err != nil {
				t.Errorf("%s: lane %q, %v; want %q", u, got, err, lane)
			}
			if err := ValidLane(got); err != nil {
				t.Errorf("%s: %v", u, err)
			}
		}
	}
}

func TestAURLWithoutAServiceIsInvalid(t *testing.T) {
	for _, u := range []string{
		"http://", "http:///x", "http://.", "http://..", "http://a..b", "http://.a", "http://a..", "http://_a", "http://-a", "http://a!b",
		"http://secret:secret@", "http://secret@:80", "http://h:0", "http://h:65536", "http://h:99999999999999999999", "http://h:-1", "http://h:x",
		"http://[fe80::1%25eth0]", "http://[::1%25]", "http://[::1", "http://[::g]", "http://::1",
		"http://127.1", "http://0x7f000001", "http://2130706433", "http://10.0.0.01", "http://10.0.0.256", "http://1.2.3.4.5",
		"http://a b", "http://a\x00", "http://a/\x7f", "http://%61", "http://a%00b", "http://\xff", "http://b\u00fcc_her",
		"http://xn--\u00fc", "http://\u202ea", "http://a,b", "http://a|b", "http://a:80:80", "ftp://h", "h", "", "//h",
		"http://" + strings.Repeat("a.", 127) + "com",
	} {
		got, err := serviceLane(u)
		if err == nil {
			t.Errorf("%q: lane %q", u, got)
			continue
		}
		wantInvalid(t, err, "url", "must")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error has a secret: %v", u, err)
		}
		if err := HTTP.Type().Check([]byte(`{"url":"` + u + `"}`)); err == nil {
			t.Errorf("%q is a payload", u)
		}
	}
}

func TestALongHostHasALaneToo(t *testing.T) {
	long := strings.Repeat("a.", 100) + "example"
	one, err := serviceLane("http://" + long)
	if err != nil || ValidLane(one) != nil {
		t.Fatal(one, err)
	}
	if same, _ := serviceLane("https://" + strings.ToUpper(long) + ".:443"); same != one {
		t.Errorf("%q and %q", one, same)
	}
	for _, other := range []string{"http://" + long + ":8080", "http://" + long + "s"} {
		if got, _ := serviceLane(other); got == one {
			t.Errorf("%q has the lane of another", other)
		}
	}
}

var laneParts = regexp.MustCompile(`^(.*?)(?:_([0-9]+))?$`)

// urlOf is a URL whose lane is this one: that there is one shows that no two services
// share a lane.
func urlOf(lane string) string {
	m := laneParts.FindStringSubmatch(lane)
	host, port := m[1], m[2]
	if rest, ok := strings.CutPrefix(host, "ipv6-"); ok && likeOurs.MatchString(host) {
		host = "[" + strings.ReplaceAll(rest, "-", ":") + "]"
	}
	scheme := "http"
	if port == "80" {
		scheme = "https"
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port
}

func FuzzServiceLane(f *testing.F) {
	for _, u := range []string{
		"http://example.com", "https://u:p@BÜCHER.example.:8443/x", "http://[2001:db8::1]:80", "http://[::ffff:1.2.3.4]", "http://my_80:80",
		"http://ipv6---1", "https://a:80", "http://[fe80::1%25en0]", "http://0x7f.1", "http://a..b", "http://xn--a.example",
	} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, u string) {
		lane, err := serviceLane(u)
		if err != nil {
			if lane != "" {
				t.Errorf("%q: both %q and %v", u, lane, err)
			}
			return
		}
		if err := ValidLane(lane); err != nil {
			t.Fatalf("%q: %v", u, err)
		}
		if strings.Contains(lane, "..") {
			return // a hash
		}
		if again, err := serviceLane(urlOf(lane)); again != lane || err != nil {
			t.Errorf("%q has lane %q, whose URL %q has %q, %v", u, lane, urlOf(lane), again, err)
		}
	})
}
