package conn

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// options are what follows the "?" of a URL. The zero value of a field means
// that it was not given, but for db, where it is -1.
type options struct {
	db                                     int
	passwordFile                           string
	sentinelUser, sentinelPassword         string
	ca, cert, key, serverName              string
	skipVerify                             bool
	poolSize                               int
	dialTimeout, readTimeout, writeTimeout time.Duration

	given []string // names, in order
}

func (o *options) parse(query string, s scheme) error {
	o.db = -1
	if query == "" {
		return nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, escaped, ok := strings.Cut(pair, "=")
		if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			// Not quoted: it may be the rest of a password with an & in it.
			return errors.New("an option is not of the form name=value; inside a password write & as %26")
		}
		// PathUnescape, because a + in a password is a plus and not a space.
		value, err := url.PathUnescape(escaped)
		if err != nil {
			return fmt.Errorf("option %s has a %% that is not an escape; write %% as %%25", name)
		}
		for _, g := range o.given {
			if g == name {
				return fmt.Errorf("option %s is given twice", name)
			}
		}
		o.given = append(o.given, name)
		if err := o.set(name, value, s); err != nil {
			return fmt.Errorf("option %s: %w", name, err)
		}
	}
	if (o.cert == "") != (o.key == "") {
		return errors.New("options cert and key go together")
	}
	if o.sentinelUser != "" && o.sentinelPassword == "" {
		return errors.New("option sentinel_username needs sentinel_password")
	}
	return nil
}

func (o *options) set(name, value string, s scheme) (err error) {
	switch name {
	case "ca", "cert", "key", "server_name", "insecure_skip_verify":
		if !s.tls {
			return errors.New("is for TLS only; write rediss:// (or rediss-sentinel://, rediss-cluster://)")
		}
	case "sentinel_username", "sentinel_password":
		if s.kind != sentinel {
			return errors.New("is for redis-sentinel:// only")
		}
	}
	if value == "" {
		return errors.New("has no value")
	}
	switch name {
	case "db":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("is not a number from 0")
		}
		o.db = int(n)
	case "ca":
		o.ca = value
	case "cert":
		o.cert = value
	case "key":
		o.key = value
	case "server_name":
		o.serverName = value
	case "insecure_skip_verify":
		if o.skipVerify, err = strconv.ParseBool(value); err != nil {
			return errors.New("is neither true nor false")
		}
	case "password_file":
		o.passwordFile = value
	case "sentinel_username":
		o.sentinelUser = value
	case "sentinel_password":
		o.sentinelPassword = value
	case "pool_size":
		if o.poolSize, err = strconv.Atoi(value); err != nil || o.poolSize < 1 || o.poolSize > 100_000 {
			return errors.New("is not a number from 1 to 100000")
		}
	case "dial_timeout":
		o.dialTimeout, err = duration(value)
	case "read_timeout":
		o.readTimeout, err = duration(value)
	case "write_timeout":
		o.writeTimeout, err = duration(value)
	default:
		return errors.New("is unknown; known are db, password_file, ca, cert, key, server_name, insecure_skip_verify, " +
			"sentinel_username, sentinel_password, pool_size, dial_timeout, read_timeout, write_timeout")
	}
	return err
}

// duration reads "1500ms"; a bare number is seconds, as in go-redis' own URLs.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d <= 0 {
		return 0, errors.New("is not a positive duration like 5s or 1500ms")
	}
	return d, nil
}
