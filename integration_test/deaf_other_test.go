//go:build !linux

package integration_test

import "testing"

// deafAddress is one that never answers: of a network kept for documentation.
func deafAddress(*testing.T) (host, port string) { return "192.0.2.1", "9" }
