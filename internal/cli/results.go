package cli

import (
	"fmt"

	"github.com/weir-tasks/weir/internal/size"
	"github.com/weir-tasks/weir/internal/work"
)

// Results are the flags of what becomes of results.
type Results struct {
	MaxResult Size `help:"Largest result of a task, such as 1MiB: from 1KiB to 16MiB. Default: the type's, 256KiB if it has no other." placeholder:"SIZE"`
}

// Bound puts the flags into a worker's options.
func (r *Results) Bound(o *work.Options) { o.MaxResult = int(r.MaxResult) }

// Size is a number of bytes, from 1 KiB to 16 MiB.
type Size int

// UnmarshalText reads 262144, 256KiB or 1MiB.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := size.Parse(string(text))
	if err == nil && n >= 1<<10 && n <= 16<<20 {
		*s = Size(n)
		return nil
	}
	return fmt.Errorf("%q: must be a size from 1KiB to 16MiB, such as 512KiB", text)
}
