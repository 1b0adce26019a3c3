package integration_test

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// nginx is a server of the test's own, on a port of loopback, in front of a handler. What
// it was asked and how it answered is in its log.
type nginx struct {
	t       *testing.T
	dir     string
	port    int
	backend string // the handler's address
	proc    *proc

	limits []limitAt // its lane's, of those who had one
}

const nginxConf = `
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 4096; }
http {
	log_format times '$msec $request_time $status';
	access_log access.log times;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	keepalive_requests 1000000;
	upstream behind { server %s; keepalive 1000; }
	%s
	server {
		listen 127.0.0.1:%d backlog=4096;
		location / {
			%s
			proxy_pass http://behind;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// startNginx starts one that passes requests on to a handler, within limits.
func startNginx(t *testing.T, behind http.Handler, limits nginxLimits) *nginx {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := &http.Server{Handler: behind}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	n := &nginx{t: t, dir: t.TempDir(), port: conntest.FreePort(t), backend: listener.Addr().String()}
	n.configure(limits)
	n.start()
	return n
}

// nginxLimits are directives of nginx.
type nginxLimits struct{ zones, location string }

func (n *nginx) configure(l nginxLimits) {
	n.t.Helper()
	conf := fmt.Sprintf(nginxConf, n.backend, l.zones, n.port, l.location)
	must(n.t, os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o600))
}

func (n *nginx) start() {
	n.t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // Debian's, which is not on everybody's path
	}
	n.proc = start(n.t, exec.Command(path, "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-g", "daemon off;"))
	eventually(n.t, long, func() bool {
		c, err := net.Dial("tcp", n.addr())
		if err != nil && n.proc.running() {
			return false
		}
		must(n.t, err)
		return c.Close() == nil
	}, "nginx listens")
}

func (n *nginx) stop() {
	n.t.Helper()
	n.proc.signal(syscall.SIGTERM)
	n.proc.wait().exits(n.t, 0)
}

// reload gives it other limits while it runs.
func (n *nginx) reload(l nginxLimits) {
	n.t.Helper()
	n.configure(l)
	n.proc.signal(syscall.SIGHUP)
}

func (n *nginx) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }
func (n *nginx) lane() string { return fmt.Sprintf("127.0.0.1_%d", n.port) }

// request is one that nginx has answered.
type request struct {
	at, took float64 // when the answer was sent, and how long that had taken, in seconds
	status   int
}

func (r request) ok() bool { return r.status == http.StatusOK }

// requests are all so far, by the time of their answers.
func (n *nginx) requests() []request {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
	must(n.t, err)
	var all []request
	for line := range strings.Lines(string(text)) {
		var r request
		if _, err := fmt.Sscan(line, &r.at, &r.took, &r.status); err != nil {
			n.t.Fatalf("log of nginx: %v: %q", err, line)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	return all
}

// slowly is a handler that takes a while, for so many requests at once as it has room
// for; others wait.
func slowly(takes time.Duration, room chan struct{}) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if room != nil {
			select {
			case room <- struct{}{}:
			case <-r.Context().Done():
				return
			}
			defer func() { <-room }()
		}
		time.Sleep(takes)
	})
}
