package tasks

import (
	"regexp"
)

var (
	// secretMember is a JSON member whose name says that its text is a secret, also one that
	// was cut off in the middle.
	secretMember = regexp.MustCompile(`(?i)("[^"]*(?:authorization|cookie|passw|secret|token|api[-_]?key|credential|signature)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)`)

	// userInfo is the user and password of a URL, also one that was cut off before its @: then
	// it cannot have been a host and a port.
	userInfo = regexp.MustCompile(`(://)(?:(?:[^/?#\s"@\\]|\\u[0-9a-fA-F]{4})+@|[^/?#\s"@\\:]*:(?:[0-9]{6,}|[0-9]*[^0-9/?#\s"@\\][^/?#\s"@\\]*)$)`)
)

// Redact is a payload fit to be shown: the texts of members such as Authorization, Cookie
// or X-Api-Key, and passwords in URLs, are taken out. It may be cut off, and need not be
// JSON.
func Redact(payload []byte) []byte {
	if len(payload) == 0 {
		return payload
	}
	payload = secretMember.ReplaceAll(payload, []byte(`${1}"***"`))
	return userInfo.ReplaceAll(payload, []byte("${1}***@"))
}
