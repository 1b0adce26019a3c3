package main

import "testing"

// TestABatchIsOfAtMost2To40Tasks: the most that may be asked for, and one more.
func TestABatchIsOfAtMost2To40Tasks(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--repeat", "--limit"} {
		for n, ok := range map[string]bool{"1": true, "1099511627776": true, "1099511627777": false, "9223372036854775807": false, "-1": false} {
			c, err := parseConfig([]string{"run", "square", flag + "=" + n})
			if err == nil {
				err = c.Run.inputFlags.validate()
			}
			if ok != (err == nil) {
				t.Errorf("%s %s: %v", flag, n, err)
			}
		}
	}
}
