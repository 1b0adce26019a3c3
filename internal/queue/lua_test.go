package queue

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var argRE = regexp.MustCompile(`\b(KEYS|ARGV)\[(\d+|i)`)

// Header and body of each script name the same KEYS and ARGV; ARGV[i] in the body
// is the header's ARGV[2...].
func TestScriptsUseWhatTheirHeadersName(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{"giveback.lua": givebackSrc, "postpone.lua": postponeSrc, "withdraw.lua": withdrawSrc,
		"close.lua": closeSrc, "quarantine.lua": quarantineSrc, "ghosts.lua": ghostsSrc, "enqueue.lua": enqueueSrc, "forward.lua": forwardSrc} {
		var header, body []string
		lines := strings.Split(src, "\n")
		for i, line := range lines {
			if !strings.HasPrefix(line, "--") {
				header, body = lines[:i], lines[i:]
				break
			}
		}
		if !strings.HasPrefix(header[0], "-- "+name+": ") {
			t.Errorf("%s begins with %q", name, header[0])
		}
		named := argRE.FindAllString(strings.Join(header, "\n"), -1)
		for i, line := range body {
			body[i], _, _ = strings.Cut(line, "--")
		}
		used := argRE.FindAllString(strings.ReplaceAll(strings.Join(body, "\n"), "ARGV[i", "ARGV[2"), -1)
		slices.Sort(named)
		slices.Sort(used)
		if used = slices.Compact(used); !slices.Equal(named, used) {
			t.Errorf("%s: the header names %v, the body uses %v", name, named, used)
		}
	}
}
