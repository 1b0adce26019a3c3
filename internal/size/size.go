// Package size reads numbers of bytes as people write them.
package size

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a number from 1, also as 10KiB, 64MiB or 1GiB.
func Parse(text string) (uint64, error) {
	number, shift := text, 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, shift = n, bits
		}
	}
	n, err := strconv.ParseUint(number, 10, 63-shift)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: must be a number from 1, or a size such as 64MiB", text)
	}
	return n << shift, nil
}
