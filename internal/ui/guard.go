package ui

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

func secureHeaders(next http.Handler, policy string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// allowHosts refuses requests made under a name that is not ours: the page of a
// foreign site whose name was made to resolve to this machine is of the same
// origin as far as its browser can tell. Ports are not compared, because a
// container's published port is not the one listened on.
func allowHosts(next http.Handler, hosts []string) http.Handler {
	allowed := make(map[string]bool)
	for _, host := range hosts {
		// An address that stands for all of them is a name for none.
		if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
			allowed[strings.ToLower(host)] = true
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		if !allowed[host] && !loopback(host) && !arrivedAt(r, host) {
			http.Error(w, "this host name is not one the UI answers to", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf gives the host of "host:port", "[::1]:port" or "host", in lower case.
func hostOf(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(host)
}

func loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// arrivedAt reports whether host is the address at which the connection came in:
// on 0.0.0.0 that is the only way to know the machine's own. An address cannot
// be rebound as a name can.
func arrivedAt(r *http.Request, host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	at, ok := netip.AddrFromSlice(local.IP)
	return ok && at.Unmap() == ip.Unmap()
}
