package conn

import (
	"net/url"
	"regexp"
	"strings"
)

const hidden = "***"

// Redact returns the URL without its passwords, for messages. Of a URL that
// cannot be understood it keeps only what cannot be a password.
func Redact(rawURL string) string {
	t, err := parse(rawURL)
	if err != nil {
		return redactBroken(rawURL)
	}
	var b strings.Builder
	b.WriteString(t.name + "://")
	if t.password != "" {
		b.WriteString(url.PathEscape(t.user) + ":" + hidden + "@")
	}
	_, rest, _ := strings.Cut(rawURL, "://")
	rest, query, hasQuery := strings.Cut(rest, "?")
	if t.unix {
		b.WriteString(rest[strings.IndexByte(rest, '/'):])
	} else {
		b.WriteString(rest[strings.LastIndexByte(rest, '@')+1:])
	}
	if hasQuery {
		b.WriteByte('?')
		for i, pair := range strings.Split(query, "&") {
			if i > 0 {
				b.WriteByte('&')
			}
			if strings.HasPrefix(pair, "sentinel_password=") {
				pair = "sentinel_password=" + hidden
			}
			b.WriteString(pair)
		}
	}
	return b.String()
}

var plainHosts = regexp.MustCompile(`^[A-Za-z0-9._-]+:[0-9]{1,5}(,[A-Za-z0-9._-]+:[0-9]{1,5})*$`)

// redactBroken keeps a known scheme, and hosts with ports that follow the last
// @. All else may be a piece of a password.
func redactBroken(raw string) string {
	name, rest, ok := strings.Cut(raw, "://")
	if _, known := schemes[strings.ToLower(name)]; !ok || !known {
		return hidden
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		hosts, _, _ := strings.Cut(rest[i+1:], "/")
		if plainHosts.MatchString(hosts) {
			return name + "://" + hidden + "@" + hosts
		}
	}
	return name + "://" + hidden
}
