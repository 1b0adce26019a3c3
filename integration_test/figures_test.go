package integration_test

import (
	"fmt"
	"os"
	"testing"
)

// show tells what a scenario has measured: as t.Logf does, and in the file that
// WEIR_TEST_FIGURES names, since of tests that pass nothing is printed without -v.
func show(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf(format, args...)
	name := os.Getenv("WEIR_TEST_FIGURES")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = fmt.Fprintf(f, "%s: %s\n", t.Name(), fmt.Sprintf(format, args...))
	must(t, err)
	must(t, f.Close())
}
