package conn

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Unchecked says that a URL's TLS does not check who answers.
func Unchecked(rawURL string) bool {
	t, err := parse(rawURL)
	return err == nil && t.tls && t.options.skipVerify
}

// Exposed says that a URL leads to a Redis beyond this host by way of neither password
// nor TLS: whoever else reaches it can make workers run what they like. TLS whose certificate
// is not checked is none. No name is looked up: but for localhost, all are beyond.
func Exposed(rawURL string) bool {
	t, err := parse(rawURL)
	if err != nil || t.unix || t.tls && !t.options.skipVerify || t.password != "" || t.options.passwordFile != "" {
		return false
	}
	return slices.ContainsFunc(t.addrs, func(addr string) bool { return !here(addr) })
}

func here(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
