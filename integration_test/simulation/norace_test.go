//go:build !race

package simulation

// defaultSeeds take about a minute on 2 cores.
const defaultSeeds = 100
