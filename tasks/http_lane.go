package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Lane is the service that the URL addresses, so that each host has limits of its own.
func (p *HTTPPayload) Lane() (string, error) { return serviceLane(p.URL) }

// maxLane is the longest name that ValidLane admits.
const maxLane = 128

var (
	hostName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$`)

	// numeric is a name whose last label is a number: an IPv4 address in a form that
	// some resolvers take and others do not (127.1, 0x7f000001).
	numeric = regexp.MustCompile(`(^|\.)(0x[0-9a-f]*|[0-9]+)$`)

	// likeOurs is a host name that reads like an IPv6 address or a port of ours.
	likeOurs = regexp.MustCompile(`^ipv6-[0-9a-f-]*$|_[0-9]+$`)
)

// serviceLane is the lane of an http or https URL: its host and, unless it is the
// scheme's own, its port. All spellings of one host and port are one lane, no two are
// ever the same:
//
//	https://User@Example.COM.:443/a  example.com
//	http://bücher.example:8080       xn--bcher-kva.example_8080
//	http://[2001:DB8::0:1]:8080      ipv6-2001-db8--1_8080
//	http://[::ffff:10.0.0.1]         10.0.0.1
//	http://my_80                     my_80.
//	a name of over 128 characters    its first 95, two dots and a hash
//
// Errors name nothing of the URL, which may hold a secret.
func serviceLane(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", invalidf("url", "must be an http or https URL")
	}
	lane, err := hostLane(u.Hostname())
	if err != nil {
		return "", err
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Port() == "", u.Scheme == "http" && port == 80, u.Scheme == "https" && port == 443:
	case err != nil || port == 0:
		return "", invalidf("url", "must have a port from 1 to 65535, or none")
	default:
		lane += "_" + strconv.FormatUint(port, 10)
	}
	if len(lane) > maxLane {
		sum := sha256.Sum256([]byte(lane))
		lane = lane[:95] + ".." + hex.EncodeToString(sum[:15])
	}
	return lane, nil
}

func hostLane(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addrLane(addr)
	}
	name, err := asciiName(host)
	if err != nil {
		return "", invalidf("url", "must have a valid host name")
	}
	name = strings.TrimSuffix(name, ".")
	if addr, err := netip.ParseAddr(name); err == nil { // with a dot, or in digits of other scripts
		return addrLane(addr)
	}
	switch {
	case len(name) > 253 || !hostName.MatchString(name):
		return "", invalidf("url", "must have a valid host name")
	case numeric.MatchString(name):
		return "", invalidf("url", "must have a host name, or an IPv4 address of four numbers")
	case likeOurs.MatchString(name):
		name += "." // the same host
	}
	return name, nil
}

// asciiName is a host name as it is looked up. ASCII is as it is: more is in use than the
// rules of IDNA allow.
func asciiName(host string) (string, error) {
	if !utf8.ValidString(host) {
		return "", errors.New("no UTF-8")
	}
	for i := range len(host) {
		if host[i] >= 0x80 {
			return idna.Lookup.ToASCII(host)
		}
	}
	return strings.ToLower(host), nil
}

func addrLane(addr netip.Addr) (string, error) {
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String(), nil
	}
	if addr.Zone() != "" {
		return "", invalidf("url", "must have an IPv6 address without a zone: that means something on one machine only")
	}
	return "ipv6-" + strings.ReplaceAll(addr.String(), ":", "-"), nil
}
