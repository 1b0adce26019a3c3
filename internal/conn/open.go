package conn

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/weir-tasks/weir/internal/secret"
)

// What a URL that does not say otherwise gets.
const (
	// DefaultPoolSize is for some hundred goroutines with commands of under a
	// millisecond, and a few connections parked in blocking reads.
	DefaultPoolSize = 64
	// DefaultTimeout for dialing, reading and writing. Shorter than the 10 s after
	// which a silent worker is taken for dead; longer than an fsync of the AOF on
	// a busy disk. Blocking reads add their own wait to it.
	DefaultTimeout = 5 * time.Second
)

// Open makes a client for a URL (see the package comment for their forms). It
// does not connect, but reads the certificates and the password's file that the URL names. The error
// says what is wrong with the URL, without quoting a password.
func Open(rawURL string) (redis.UniversalClient, error) {
	t, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if t.options.passwordFile != "" {
		if t.password, err = readPassword(t.options.passwordFile); err != nil {
			return nil, fmt.Errorf("redis URL: option password_file: %w", err)
		}
	}
	o := t.universal()
	if t.tls {
		if o.TLSConfig, err = t.options.tlsConfig(); err != nil {
			return nil, fmt.Errorf("redis URL: %w", err)
		}
	}
	switch t.kind {
	case sentinel:
		return redis.NewFailoverClient(o.Failover()), nil
	case cluster:
		return redis.NewClusterClient(o.Cluster()), nil
	default:
		return redis.NewClient(o.Simple()), nil
	}
}

func readPassword(path string) (string, error) {
	text, err := secret.Read(path)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(text, "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("%s must hold a password, on one line", path)
	}
	return password, nil
}

// Defaults are the options of the client that Open makes for a URL with no more than a
// host, for tests with a network of their own.
func Defaults() *redis.Options { return target{}.universal().Simple() }

func (t target) universal() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:            t.addrs,
		MasterName:       t.master,
		DB:               t.db,
		Username:         t.user,
		Password:         t.password,
		SentinelUsername: t.options.sentinelUser,
		SentinelPassword: t.options.sentinelPassword,

		PoolSize: cmp.Or(t.options.poolSize, DefaultPoolSize),
		// A Redis that does not answer is told of after two timeouts, not four.
		MaxRetries:   1,
		DialTimeout:  cmp.Or(t.options.dialTimeout, DefaultTimeout),
		ReadTimeout:  cmp.Or(t.options.readTimeout, DefaultTimeout),
		WriteTimeout: cmp.Or(t.options.writeTimeout, DefaultTimeout),
		// A refused dial is reported at once: the command's own retries, Ready and
		// the callers' backoff try again, later and more slowly.
		DialerRetries:         1,
		ContextTimeoutEnabled: true,

		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// tlsConfig leaves ServerName empty unless told: go-redis then takes the name
// of each host it dials, which is right for the nodes of a cluster too.
func (o options) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         o.serverName,
		InsecureSkipVerify: o.skipVerify,
	}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("option ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("option ca: %s holds no PEM certificate", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("options cert and key: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("options cert and key: %s and %s: %w", o.cert, o.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
