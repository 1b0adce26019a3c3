package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/schedule"
)

// A run that the daemon before still feeds is tried again; what cannot be mended is not.
func TestWhichErrorsEndARun(t *testing.T) {
	for err, want := range map[error]bool{
		&produce.InUseError{Name: "b", Reason: "producer p feeds it now", Fed: true}: false,
		&produce.InUseError{Name: "b", Reason: "--lane was \"a\" and is now \"b\""}:  true,
		fmt.Errorf("feed: %w", feed.ErrCancelled):                                    true,
		errors.New("Redis is away"):                                                  false,
	} {
		var last *schedule.LastError
		if got := errors.As(lastOf(err), &last); got != want {
			t.Errorf("%v: the last %v, want %v", err, got, want)
		}
	}
}
