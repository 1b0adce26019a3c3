package tasks

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-tasks/weir/internal/egress"
	"golang.org/x/net/dns/dnsmessage"
)

// resolves makes every name that the resolver is asked for be what answer says, for as
// long as the test runs. Names of /etc/hosts are not asked for.
func resolves(t testing.TB, answer func(name string) netip.Addr) {
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go answerDNS(ours, answer)
		return theirs, nil
	}}
}

// answerDNS answers queries as DNS over TCP does.
func answerDNS(conn net.Conn, answer func(name string) netip.Addr) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil {
			return
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: answer(strings.TrimSuffix(q.Name.String(), ".")).As4()},
			}}
		}
		reply, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// under returns a context of a worker with these rules.
func under(t *testing.T, mode egress.Mode, allow ...string) context.Context {
	t.Helper()
	networks, err := egress.ParseNetworks(allow)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := egress.New(egress.Options{Mode: mode, Allow: networks})
	if err != nil {
		t.Fatal(err)
	}
	return WithMeans(t.Context(), &Means{Egress: guard})
}

// serveOn is a server on an address, which counts the connections made to it.
func serveOn(t *testing.T, addr string, handler http.HandlerFunc) (server *httptest.Server, opened *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	opened = new(atomic.Int32)
	server = httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server, opened
}

func port(server *httptest.Server) string {
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	return port
}

// spellings are ways to write a host that is not the internet. HOST:PORT in them is the
// service of the test, on 127.0.0.1; every name that is asked for resolves to that.
var spellings = []struct {
	url string
	// reaches says that it does reach the service, where anything may be reached.
	reaches bool
}{
	{"http://127.0.0.1:PORT/", true},
	{"http://127.0.0.1:PORT", true},
	{"HTTP://127.0.0.1:PORT/", true},
	{"http://user:password@127.0.0.1:PORT/", true},
	{"http://example.com@127.0.0.1:PORT/", true},
	{"http://example.com:80@127.0.0.1:PORT/", true},
	{"http://8.8.8.8@127.0.0.1:PORT/#@8.8.8.8/", true},
	{"http://127.0.0.1:PORT/?@example.com", true},
	{"http://127.0.0.1:PORT/@example.com", true},
	{"http://127.0.0.1:PORT#@example.com", true},
	{"http://localhost:PORT/", true},
	{"http://LocalHost:PORT/", true},
	{"http://localhost.:PORT/", true},
	{"http://name.test:PORT/", true},
	{"http://name.test.:PORT/", true},
	{"http://127.0.0.1.nip.test:PORT/", true},
	{"http://metadata.google.internal:PORT/", true},
	{"http://0x7f000001:PORT/", false},
	{"http://0x7f.1:PORT/", false},
	{"http://0x7f.0x0.0x0.0x1:PORT/", false},
	{"http://0X7F.0.0.1:PORT/", false},
	{"http://2130706433:PORT/", false},
	{"http://017700000001:PORT/", false},
	{"http://0177.0.0.1:PORT/", false},
	{"http://0000177.0.0.01:PORT/", false},
	{"http://127.1:PORT/", false},
	{"http://127.0.1:PORT/", false},
	{"http://127.000.000.001:PORT/", false},
	{"http://127.0.0.1.:PORT/", false},
	{"http://0:PORT/", false},
	{"http://0.0.0.0:PORT/", true}, // this host, to Linux
	{"http://[::ffff:127.0.0.1]:PORT/", true},
	{"http://[::ffff:7f00:1]:PORT/", true},
	{"http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/", true},
	{"http://[::FFFF:7F00:0001]:PORT/", true},
	{"http://[::127.0.0.1]:PORT/", false},
	{"http://[::1]:PORT/", false},
	{"http://[0:0:0:0:0:0:0:1]:PORT/", false},
	{"http://[::]:PORT/", true}, // this host, to Linux
	{"http://[::1%25lo]:PORT/", false},
	{"http://[fe80::1%25lo]:PORT/", false},
	{"http://[fe80::1%25]:PORT/", false},
	{"http://[64:ff9b::127.0.0.1]:PORT/", false},
	{"http://[64:ff9b::7f00:1]:PORT/", false},
	{"http://[64:ff9b:1::7f00:1]:PORT/", false},
	{"http://[2002:7f00:1::]:PORT/", false},
	{"http://[2001:0:7f00:1::]:PORT/", false},
	{"http://[fd00:ec2::254]:PORT/", false},
	{"http://[fc00::1]:PORT/", false},
	{"http://[ff02::1%25lo]:PORT/", false},
	{"http://127\u30020\u30020\u30021:PORT/", true}, // ideographic full stops: a name to Go
	{"http://127\uff0e0\uff0e0\uff0e1:PORT/", true},
	{"http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:PORT/", true},
	{"http://loc\u0430lhost:PORT/", true}, // a Cyrillic letter
	{"http://127%2e0%2e0%2e1:PORT/", false},
	{"http://127.0.0.1%00.example.com:PORT/", false},
	{"http://127.0.0.1%0d%0a:PORT/", false},
	{"http://127.0.0.1\\@example.com:PORT/", false},
	{"http:127.0.0.1:PORT", false},
	{"http:///127.0.0.1:PORT/", false},
	{"http://169.254.169.254/latest/meta-data/", false},
	{"http://10.0.0.1:PORT/", false},
	{"http://192.168.0.1:PORT/", false},
	{"http://100.64.0.1:PORT/", false},
	{"http://224.0.0.1:PORT/", false},
	{"http://255.255.255.255:PORT/", false},
	{"http://240.0.0.1:PORT/", false},
	{"unix:///var/run/docker.sock", false},
	{"file:///etc/passwd", false},
	{"gopher://127.0.0.1:PORT/_x", false},
}

// TestNoSpellingReachesThisHost: whatever a host is written like, an http task and a ping
// under public do not connect to it.
func TestNoSpellingReachesThisHost(t *testing.T) {
	resolves(t, func(string) netip.Addr { return loopback })
	server, opened := serveOn(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	public, everything := under(t, egress.Public), under(t, egress.Any)
	for _, s := range spellings {
		payload := fmt.Sprintf(`{"url":%q}`, strings.ReplaceAll(s.url, "PORT", port(server)))
		before := opened.Load()
		_, err := run(t, public, HTTP, payload)
		if err == nil || s.reaches && !IsRejected(err) {
			t.Errorf("%s: got %v", s.url, err)
		}
		if opened.Load() != before {
			t.Errorf("%s has reached the service", s.url)
		}
		if !s.reaches {
			continue
		}
		httpTransport(everything).(*http.Transport).CloseIdleConnections()
		if _, err := run(t, everything, HTTP, payload); err != nil || opened.Load() == before {
			t.Errorf("where anything may be reached, %s does not reach the service: %v", s.url, err)
		}
	}
	httpTransport(everything).(*http.Transport).CloseIdleConnections()
	if len(spellings) < 40 {
		t.Errorf("only %d spellings", len(spellings))
	}
}

func TestPingAsksNoHostThatIsDenied(t *testing.T) {
	resolves(t, func(string) netip.Addr { return loopback })
	server, opened := serveOn(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	for _, host := range []string{
		"127.0.0.1", "localhost", "localhost.", "name.test", "0x7f000001", "0.0.0.0", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1",
		"::1%lo", "fe80::1%lo", "64:ff9b::127.0.0.1", "2002:7f00:1::", "169.254.169.254", "10.0.0.1", "255.255.255.255", "224.0.0.1",
	} {
		for _, method := range []string{"tcp", "icmp", "auto"} {
			payload := fmt.Sprintf(`{"host":%q,"method":%q,"port":%s,"count":1,"timeout":0.2}`, host, method, port(server))
			if _, err := run(t, under(t, egress.Public), Ping, payload); !IsRejected(err) || !strings.Contains(err.Error(), "--allow-net") {
				t.Errorf("%s by %s: got %v", host, method, err)
			}
		}
	}
	if n := opened.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	payload := fmt.Sprintf(`{"host":"name.test","method":"tcp","port":%s,"count":1}`, port(server))
	if got, err := run(t, under(t, egress.Public, "127.0.0.0/8"), Ping, payload); err != nil || got.Received != 1 {
		t.Errorf("an allowed one: got %+v, %v", got, err)
	}
}

// TestANameIsJudgedEachTimeItIsDialled: a name that was allowed and then leads to this
// host is denied then.
func TestANameIsJudgedEachTimeItIsDialled(t *testing.T) {
	allowed := netip.MustParseAddr("127.0.0.2")
	var asked sync.Map
	resolves(t, func(name string) netip.Addr { // each name flips
		if _, again := asked.LoadOrStore(name, true); again {
			return loopback
		}
		return allowed
	})
	outside, _ := serveOn(t, "127.0.0.2:0", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
	})
	inside, opened := serveOn(t, "127.0.0.1:"+port(outside), func(http.ResponseWriter, *http.Request) {})
	ctx := under(t, egress.Public, "127.0.0.2")
	url := "http://flips.test:" + port(outside) + "/"
	if _, err := httpRun(t, ctx, HTTPPayload{URL: url}); err != nil {
		t.Fatalf("the first time: %v", err)
	}
	if _, err := httpRun(t, ctx, HTTPPayload{URL: url}); !IsRejected(err) || !strings.Contains(err.Error(), "127.0.0.1 is denied: loopback") {
		t.Errorf("the second time: %v", err)
	}
	first, err := run(t, ctx, Ping, `{"host":"flops.test","method":"tcp","count":1,"port":`+port(inside)+`}`)
	if err != nil || first.Addr != "127.0.0.2" {
		t.Errorf("the first ping: %+v, %v", first, err)
	}
	if _, err := run(t, ctx, Ping, `{"host":"flops.test","method":"tcp","count":1,"port":`+port(inside)+`}`); !IsRejected(err) {
		t.Errorf("the second ping: %v", err)
	}
	if n := opened.Load(); n != 0 {
		t.Errorf("%d connections to what is denied", n)
	}
}

// TestARedirectIsJudgedToo: to the metadata service, to this host, by name and by number.
func TestARedirectIsJudgedToo(t *testing.T) {
	resolves(t, func(string) netip.Addr { return loopback })
	inside, opened := serveOn(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	outside, _ := serveOn(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		if r.URL.Path == "/far" { // at the third
			to = "/?to=" + to
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	})
	ctx := under(t, egress.Public, "127.0.0.2")
	for to, denied := range map[string]string{
		"http://169.254.169.254/latest/meta-data/": "169.254.169.254 is denied: metadata",
		"http://[::ffff:a9fe:a9fe]/":               "169.254.169.254 is denied: metadata",
		"http://name.test:" + port(inside):         "127.0.0.1 is denied: loopback",
		"//127.0.0.1:" + port(inside):              "127.0.0.1 is denied: loopback",
		"http://[fd00:ec2::254]/":                  "fd00:ec2::254 is denied: metadata",
		"http://10.0.0.1/":                         "10.0.0.1 is denied: private",
		"http://8.8.8.8:22/":                       "8.8.8.8:22 is denied: port 22",
		"https://8.8.8.8:6379/":                    "8.8.8.8:6379 is denied: port 6379",
	} {
		for _, path := range []string{"/", "/far"} {
			_, err := httpRun(t, ctx, HTTPPayload{URL: outside.URL + path + "?to=" + to})
			if !IsRejected(err) || !strings.Contains(err.Error(), denied) {
				t.Errorf("%s to %s: got %v", path, to, err)
			}
		}
	}
	if n := opened.Load(); n != 0 {
		t.Errorf("%d connections to what is denied", n)
	}
}

// TestARedirectTakesNoSecretsAlong: of a payload's headers another service gets only those
// that cannot be one, and no Referer; also by way of it, back at home.
func TestARedirectTakesNoSecretsAlong(t *testing.T) {
	var mu sync.Mutex
	var got http.Header
	note := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		got = r.Header.Clone()
	}
	home, elsewhere := serve(t, note), serve(t, note)
	headers := map[string]string{
		"Authorization": "Bearer canary", "Cookie": "a=canary", "Proxy-Authorization": "canary",
		"X-Api-Key": "canary", "Private-Token": "canary", "Referer": "http://canary.test/", "Accept": "text/plain",
	}
	for _, c := range []struct {
		to    string
		takes bool
	}{
		{home.URL + "/", true},
		{"/other", true},
		{elsewhere.URL + "/?token=x", false},
		{elsewhere.URL + "/?to=" + home.URL, false},
		{strings.Replace(home.URL, "127.0.0.1", "localhost", 1), false},
	} {
		if _, err := httpRun(t, t.Context(), HTTPPayload{URL: home.URL + "/?token=canary&to=" + c.to, Headers: headers}); err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprint(got)
		if strings.Contains(all, "canary") != c.takes || got.Get("Accept") != "text/plain" || got.Get("User-Agent") != "weir" {
			t.Errorf("redirected to %s: got %v", c.to, got)
		}
	}
}

func TestSameService(t *testing.T) {
	for _, c := range []struct {
		from, to string
		same     bool
	}{
		{"http://a/x", "http://a/y", true},
		{"http://a/", "http://a:80/", true},
		{"http://a/", "https://a/", true},
		{"http://a/", "https://a:8443/", false},
		{"https://a/", "http://a/", false},
		{"https://a/", "https://a:8443/", false},
		{"http://a/", "http://b.a/", false},
		{"http://a:8080/", "http://a:8080/", true},
		{"https://a:8080/", "http://a:8080/", false},
	} {
		parse := func(text string) *http.Request {
			req, err := http.NewRequest(http.MethodGet, text, nil)
			if err != nil {
				t.Fatal(err)
			}
			return req
		}
		if got := sameService(parse(c.from).URL, parse(c.to).URL); got != c.same {
			t.Errorf("%s to %s: got %v", c.from, c.to, got)
		}
	}
}

// TestNoProxyOfTheEnvironmentIsAWayRound: it would connect to what the guard denies.
func TestNoProxyOfTheEnvironmentIsAWayRound(t *testing.T) {
	resolves(t, func(string) netip.Addr { return loopback })
	proxy, opened := serveOn(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	for _, url := range []string{"http://name.test:1/", "https://name.test:1/"} {
		if _, err := httpRun(t, under(t, egress.Public), HTTPPayload{URL: url}); !IsRejected(err) {
			t.Errorf("%s: got %v", url, err)
		}
		if _, err := httpRun(t, under(t, egress.Public, "127.0.0.1"), HTTPPayload{URL: url}); err == nil {
			t.Errorf("%s: somebody has answered", url)
		}
	}
	if n := opened.Load(); n != 0 {
		t.Errorf("%d connections to the proxy", n)
	}
}
