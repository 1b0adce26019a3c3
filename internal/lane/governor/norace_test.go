//go:build !race

package governor

const raced = false
