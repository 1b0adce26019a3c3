package conn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	ca.issue("server", time.Hour)
	ca.issue("client", time.Hour)
	newAuthority(t, dir, "other")
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

	ca.issue("server", -time.Minute)
	late := conntest.FreePort(t)
	conntest.Server(t, "--tls-port", fmt.Sprint(late), "--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "no",
		"--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"))
	fails(t, fmt.Sprintf("rediss://127.0.0.1:%d?ca=%s", late, file("ca.pem")), "expired")
}

type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	a := &authority{t: t, dir: dir}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.write(name+".pem", a.cert, a.key)
	return a
}

func (a *authority) issue(name string, valid time.Duration) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		DNSNames: []string{"redis.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.pem(name+".key", "PRIVATE KEY", der)
}

func (a *authority) write(file string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.pem(file, "CERTIFICATE", der)
}

func (a *authority) pem(file, kind string, der []byte) {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, file), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}
