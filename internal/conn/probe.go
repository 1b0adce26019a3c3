package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// tlsRefusal asks again why a TLS server hangs up. In TLS 1.3 it judges our
// certificate after our side of the handshake is done: go-redis is then already
// writing, the server's reset overtakes its alert, and the reason is lost. Who
// only reads gets the alert. It returns nil when there is none.
func tlsRefusal(ctx context.Context, err error, rawURL string) error {
	t, perr := parse(rawURL)
	hungUp := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if perr != nil || !t.tls || !hungUp {
		return nil
	}
	c, err := t.options.tlsConfig()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, addr := range t.addrs {
		conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			_, err = conn.Read(make([]byte, 1)) // Redis has nothing to say first
			_ = conn.Close()
		}
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "remote error" {
			return err
		}
	}
	return nil
}
