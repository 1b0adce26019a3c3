package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Error is a go-redis error put for people. Its text is one line without
// secrets; Unwrap gives what go-redis said.
type Error struct {
	Addr      string // host:port, a socket's path, or several hosts
	Cause     string
	Remedy    string // may be empty
	Permanent bool   // waiting cannot mend it
	Err       error
}

func (e *Error) Error() string {
	s := "redis at " + e.Addr + ": " + e.Cause
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Permanent reports whether waiting cannot mend err: credentials, rights,
// certificates, a server of another kind than the URL says.
func Permanent(err error) bool {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Permanent
	}
	return err != nil && diagnose(err, target{}).Permanent
}

// Explain turns a go-redis error into an *Error: one line with address, cause
// and remedy. nil and redis.Nil, which is an answer and not a fault, come back
// as they are.
func Explain(err error, rawURL string) error {
	if err == nil || err == redis.Nil {
		return err
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	t, perr := parse(rawURL)
	if perr != nil {
		t = target{addrs: []string{Redact(rawURL)}}
	}
	e := diagnose(err, t)
	e.Err = err
	e.Addr = address(err, t)
	e.Cause = scrub(e.Cause, t)
	return e
}

// address is the node that the error names where there are several, else what
// the URL says, which people recognise (go-redis reports the resolved IP).
func address(err error, t target) string {
	if op := (*net.OpError)(nil); len(t.addrs) != 1 || t.kind != single {
		if errors.As(err, &op) && op.Addr != nil {
			return op.Addr.String()
		}
	}
	if len(t.addrs) == 0 {
		return "unknown address"
	}
	return strings.Join(t.addrs, ",")
}

// scrub makes one line of a message and takes out the passwords, which a server
// may echo: "ERR unknown command 'AUTH', with args beginning with: 'secret'".
func scrub(s string, t target) string {
	s, _, _ = strings.Cut(s, ", with args beginning with")
	for _, secret := range []string{t.password, t.options.sentinelPassword} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, hidden)
		}
	}
	return strings.Join(strings.Fields(s), " ")
}

// diagnose finds the cause. What Redis itself answered comes first, then the
// most telling layer below: certificate, name, system call, timeout.
func diagnose(err error, t target) *Error {
	var (
		answer redis.Error
		dns    *net.DNSError
		errno  syscall.Errno
		netErr net.Error
		op     *net.OpError
	)
	switch {
	case t.kind == sentinel && errors.Is(err, redis.Nil):
		return &Error{Cause: "the Sentinels know no master named " + t.master, Permanent: true,
			Remedy: "write the name of their `sentinel monitor NAME ...` behind the hosts"}
	case errors.As(err, &answer):
		e := diagnoseAnswer(answer.Error())
		if credentials(answer) && strings.Contains(err.Error(), "all sentinels") {
			e.Remedy = "it is the Sentinel that says so: check sentinel_username and sentinel_password in the URL"
		}
		return e
	}
	if e := diagnoseTLS(err); e != nil {
		return e
	}
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return &Error{Cause: "no such host " + dns.Name, Remedy: "check the name in the URL"}
		}
		return &Error{Cause: "the name " + dns.Name + " cannot be looked up: " + dns.Err}
	case errors.As(err, &errno):
		return diagnoseErrno(errno, err, t)
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return &Error{Cause: "all connections are in use", Remedy: "raise pool_size in the URL"}
	case errors.Is(err, redis.ErrClosed):
		return &Error{Cause: "the client is closed", Permanent: true}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return closed(t)
	case errors.Is(err, context.Canceled):
		return &Error{Cause: "cancelled"}
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return &Error{Cause: "no answer to the connection attempt", Remedy: "is the host up and the port open?"}
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		if t.tls { // plain Redis reads a TLS hello as the start of a command, and waits for its end
			return &Error{Cause: "no answer in time", Remedy: "does it speak TLS there? if not, write " + strings.Replace(t.name, "rediss", "redis", 1) + "://"}
		}
		return &Error{Cause: "no answer in time", Remedy: "is it overloaded, frozen or unreachable?"}
	case strings.Contains(err.Error(), "redis: can't parse"), strings.Contains(err.Error(), "redis: invalid reply"):
		return &Error{Cause: "what answers does not speak Redis' protocol", Permanent: true, Remedy: "check host and port"}
	case strings.Contains(err.Error(), "cluster has no nodes"):
		return &Error{Cause: "no node of the cluster can be reached"}
	}
	return &Error{Cause: err.Error()}
}

// diagnoseTLS returns nil when err is not about TLS.
func diagnoseTLS(err error) *Error {
	var (
		record   tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &record):
		return &Error{Cause: "it does not speak TLS", Permanent: true, Remedy: "write redis:// instead of rediss://"}
	case errors.As(err, &unknown):
		return &Error{Cause: "its certificate is of an unknown authority", Permanent: true,
			Remedy: "name the CA's file in the URL: ca=/path.pem"}
	case errors.As(err, &hostname):
		return &Error{Cause: "its certificate is for another name: " + hostname.Error(), Permanent: true,
			Remedy: "write that name as host, or as server_name="}
	case errors.As(err, &invalid), errors.As(err, &verify):
		return &Error{Cause: "its certificate is not valid: " + err.Error(), Permanent: true}
	case strings.Contains(err.Error(), "remote error: tls:"):
		_, alert, _ := strings.Cut(err.Error(), "remote error: tls:")
		return &Error{Cause: "it refused our side of TLS:" + alert, Permanent: true,
			Remedy: "does it ask for a client certificate? name it in the URL: cert=/path.pem&key=/path.pem"}
	case strings.Contains(err.Error(), "tls: "):
		return &Error{Cause: "TLS: " + err.Error(), Permanent: true}
	}
	return nil
}

// closed without a word is what a TLS port does to a client that speaks plain.
func closed(t target) *Error {
	e := &Error{Cause: "it closed the connection"}
	switch {
	case t.tls && t.options.cert == "":
		e.Remedy = "if it asks for a client certificate, name it in the URL: cert=/path.pem&key=/path.pem"
	case !t.tls && !t.unix:
		e.Remedy = "if this is a TLS port, write rediss://"
	}
	return e
}

func diagnoseErrno(n syscall.Errno, err error, t target) *Error {
	switch n {
	case syscall.ECONNREFUSED:
		return &Error{Cause: "connection refused", Remedy: "is redis-server running there?"}
	case syscall.ENOENT:
		return &Error{Cause: "no such socket", Remedy: "is redis-server running with this unixsocket?"}
	case syscall.EACCES, syscall.EPERM:
		return &Error{Cause: "permission denied", Remedy: "may this user use the socket (unixsocketperm), or the network?"}
	case syscall.ECONNRESET, syscall.EPIPE:
		return closed(t)
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH:
		return &Error{Cause: n.Error(), Remedy: "check the address and the network"}
	case syscall.EMFILE, syscall.ENFILE:
		return &Error{Cause: "this process has too many files open", Remedy: "raise `ulimit -n`, or lower pool_size in the URL"}
	case syscall.ETIMEDOUT:
		return &Error{Cause: "no answer in time", Remedy: "is the host up and the port open?"}
	}
	return &Error{Cause: err.Error()}
}
