package tasks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/egress"
	"go.uber.org/goleak"
)

// TestMain lets the http tasks trust httptest's certificate, which all its
// servers share, and fails the suite for a goroutine left behind.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	server.Close()
	transport := newHTTPTransport(nil)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	httpTransports.Store((*egress.Guard)(nil).String(), transport)

	code := m.Run()
	transport.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// wantInvalid checks that err is an *InvalidError about the field, with the
// reason, in plain words.
func wantInvalid(t *testing.T, err error, field, reason string) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v, want an InvalidError about %q", err, field)
	}
	if invalid.Field != field || !strings.Contains(invalid.Reason, reason) {
		t.Errorf("got field %q, reason %q; want %q, %q", invalid.Field, invalid.Reason, field, reason)
	}
	for _, word := range []string{"int64", "float64", "struct", "Payload", "unmarshal", "json:", "Go "} {
		if strings.Contains(invalid.Reason, word) {
			t.Errorf("reason %q has %q, which means nothing to whoever wrote the payload", invalid.Reason, word)
		}
	}
	if !IsPermanent(err) {
		t.Errorf("%v is not permanent", err)
	}
}

// run runs a type and decodes its result.
func run[P, R any](t *testing.T, ctx context.Context, d *Definition[P, R], payload string) (R, error) {
	t.Helper()
	var r R
	data, err := d.Type().Run(ctx, []byte(payload))
	if err != nil {
		return r, err
	}
	if r, err = d.DecodeResult(data); err != nil {
		t.Fatal(err)
	}
	return r, nil
}
