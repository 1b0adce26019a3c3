package conn_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := conntest.NewAuthority(t, dir, "ca")
	ca.Issue("server", time.Hour)
	ca.Issue("client", time.Hour)
	conntest.NewAuthority(t, dir, "other")
	file := func(name string) string { return filepath.Join(dir, name) }

	port := conntest.FreePort(t)
	conntest.Server(t, "--tls-port", fmt.Sprint(port), "--tls-ca-cert-file", file("ca.pem"),
		"--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"))
	at := fmt.Sprintf("127.0.0.1:%d", port)
	client := "cert=" + file("client.pem") + "&key=" + file("client.key")
	trusted := "ca=" + file("ca.pem") + "&" + client

	works(t, "rediss://"+at+"?"+trusted)
	works(t, "rediss://"+at+"?"+trusted+"&server_name=redis.test")
	works(t, "rediss://"+at+"?insecure_skip_verify=true&"+client)
	fails(t, "rediss://"+at+"?"+client, "unknown authority; name the CA's file in the URL: ca=")
	fails(t, "rediss://"+at+"?ca="+file("other.pem")+"&"+client, "unknown authority")
	fails(t, "rediss://"+at+"?"+trusted+"&server_name=elsewhere", "for another name")
	for range 5 { // whether go-redis itself sees the alert is a matter of luck
		fails(t, "rediss://"+at+"?ca="+file("ca.pem"), "refused our side of TLS: certificate required; does it ask for a client certificate? name it in the URL: cert=/path.pem&key=/path.pem")
	}

	ca.Issue("server", -time.Minute)
	late := conntest.FreePort(t)
	conntest.Server(t, "--tls-port", fmt.Sprint(late), "--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "no",
		"--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"))
	fails(t, fmt.Sprintf("rediss://127.0.0.1:%d?ca=%s", late, file("ca.pem")), "expired")
}
