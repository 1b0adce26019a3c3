// Package mutants shows that the simulation can fail: weir without one of its guards
// fails in it within a few seeds. The guards are in a list here; package simulation is
// built once for each of them with go build's -overlay, so nothing in weir itself
// knows of this.
package mutants
