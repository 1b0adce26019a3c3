//go:build race

package simulation

// defaultSeeds take about a minute on 2 cores, with the race detector.
const defaultSeeds = 10
