//go:build race

package governor

// raced: simulations are ten times slower with the race detector, and have one goroutine
// each. There are fewer of them then.
const raced = true
