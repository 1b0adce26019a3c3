package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// kind is what answers at the addresses of a URL.
type kind int

const (
	single kind = iota
	sentinel
	cluster
)

// scheme is what the part before "://" decides.
type scheme struct {
	kind kind
	tls  bool
	unix bool
	port string // when the URL gives none
}

var schemes = map[string]scheme{
	"redis":           {kind: single, port: "6379"},
	"rediss":          {kind: single, port: "6379", tls: true},
	"unix":            {kind: single, unix: true},
	"redis-sentinel":  {kind: sentinel, port: "26379"},
	"rediss-sentinel": {kind: sentinel, port: "26379", tls: true},
	"redis-cluster":   {kind: cluster, port: "6379"},
	"rediss-cluster":  {kind: cluster, port: "6379", tls: true},
}

// target is a URL understood.
type target struct {
	scheme
	name           string   // the scheme as written
	addrs          []string // host:port, or the socket's path
	user, password string
	master         string // of a sentinel URL
	db             int
	options        options
}

// parse understands a URL. It does not use url.Parse: that refuses a list of
// hosts, and its errors quote the password.
func parse(raw string) (target, error) {
	var t target
	if strings.TrimSpace(raw) == "" {
		return t, errors.New("redis URL: empty; write redis://host:6379")
	}
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }); i >= 0 {
		return t, fmt.Errorf("redis URL: a space or control character at byte %d", i)
	}
	name, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return t, errors.New("redis URL: no scheme; write redis://host:6379")
	}
	if t.scheme, ok = schemes[strings.ToLower(name)]; !ok {
		return t, errors.New("redis URL: unknown scheme; known are redis, rediss, unix, " +
			"redis-sentinel, rediss-sentinel, redis-cluster, rediss-cluster")
	}
	t.name = strings.ToLower(name)
	if err := t.parseRest(rest); err != nil {
		return t, fmt.Errorf("redis URL: %w", err)
	}
	return t, nil
}

func (t *target) parseRest(rest string) error {
	// A password with one of / ? # @ in it, written as it is, cuts the URL in the
	// wrong place. Seen here, because every later message would quote a piece of it.
	if strings.Contains(rest, "#") {
		return errors.New("has a #; inside a password write it as %23")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(query, "@") || strings.Contains(path, "@") && authority != "" {
		return errors.New("has an @ behind the hosts; inside a password write / ? # @ as %2F %3F %23 %40")
	}
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		if err := t.parseUser(authority[:i]); err != nil {
			return err
		}
	}
	if err := t.options.parse(query, t.scheme); err != nil {
		return err
	}
	switch {
	case t.password != "" && t.options.passwordFile != "":
		return errors.New("two passwords: one before the @, another as password_file=")
	case t.user != "" && t.password == "" && t.options.passwordFile == "":
		// Redis would be asked as the default user, not as this one.
		return errors.New("a user without a password; write user:password@, or :password@ for the default user")
	}
	if t.unix {
		return t.parseSocket(hosts, path)
	}
	if err := t.parseHosts(hosts); err != nil {
		return err
	}
	return t.parsePath(path)
}

func (t *target) parseUser(s string) error {
	user, password, _ := strings.Cut(s, ":")
	var err, perr error
	t.user, err = url.PathUnescape(user)
	t.password, perr = url.PathUnescape(password)
	if err != nil || perr != nil {
		return errors.New("user or password has a % that is not an escape; write % as %25")
	}
	return nil
}

func (t *target) parseSocket(hosts, path string) error {
	if hosts != "" {
		return errors.New("a unix socket has a path and no host; write unix:///path/to.sock")
	}
	socket, err := url.PathUnescape(path)
	if err != nil || len(socket) < 2 {
		return errors.New("no path of a socket; write unix:///path/to.sock")
	}
	t.addrs = []string{socket}
	t.db = max(0, t.options.db)
	return nil
}

func (t *target) parseHosts(s string) error {
	if s == "" && t.kind == single {
		s = "localhost" // as redis-cli and go-redis have it
	}
	list := strings.Split(s, ",")
	if len(list) > 1 && t.kind == single {
		return errors.New("more than one host; that needs redis-sentinel:// or redis-cluster://")
	}
	for i, h := range list {
		addr, err := hostPort(h, t.port, t.kind == single)
		if err != nil {
			if len(list) > 1 {
				return fmt.Errorf("host %d of %d: %w", i+1, len(list), err)
			}
			return err
		}
		t.addrs = append(t.addrs, addr)
	}
	return nil
}

// hostPort completes one address. Its errors do not quote: what stands in the
// place of a port is a password as often as not (redis://user:password).
func hostPort(s, port string, mayOmitHost bool) (string, error) {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", errors.New("the port is not a number from 1 to 65535")
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		ip, err := url.PathUnescape(host[1 : len(host)-1])
		if err != nil {
			return "", errors.New("what is in [brackets] is not an IPv6 address")
		}
		if a, err := netip.ParseAddr(ip); err != nil || !a.Is6() {
			return "", errors.New("what is in [brackets] is not an IPv6 address")
		}
		return net.JoinHostPort(ip, port), nil
	}
	if strings.Contains(host, ":") {
		return "", errors.New("too many colons; an IPv6 address goes in [brackets], a password before an @")
	}
	if host == "" {
		if !mayOmitHost {
			return "", errors.New("no host")
		}
		host = "localhost"
	}
	if strings.Trim(host, hostChars) != "" {
		return "", errors.New("the host has a character that no host name has")
	}
	return net.JoinHostPort(host, port), nil
}

// The underscore is not DNS, but docker compose and Kubernetes users have it.
const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

func (t *target) parsePath(p string) error {
	p = strings.Trim(path.Clean("/"+p), "/")
	db := p
	if t.kind == sentinel {
		t.master, db, _ = strings.Cut(p, "/")
		m, err := url.PathUnescape(t.master)
		if err != nil || m == "" {
			return errors.New("no master name; write redis-sentinel://host:26379/mastername")
		}
		t.master = m
	}
	t.db = max(0, t.options.db)
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 31)
		if err != nil {
			return errors.New("the database is not a number; write .../0")
		}
		if t.options.db >= 0 && t.options.db != int(n) {
			return errors.New("two databases: one in the path, another as db=")
		}
		t.db = int(n)
	}
	if t.kind == cluster && t.db != 0 {
		return errors.New("a cluster has database 0 only")
	}
	return nil
}
