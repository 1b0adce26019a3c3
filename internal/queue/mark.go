package queue

import (
	"math/rand/v2"
	"strconv"
)

// Mark is a worker's sign in the leases of its tasks: the fraction of their seconds.
// asynq writes whole seconds and only compares; a double holds 20 bits more. Zero is
// the mark of no worker.
type Mark uint32

const markBits = 20

// NewMark returns a mark that most likely no other worker has.
func NewMark() Mark { return Mark(1 + rand.IntN(1<<markBits-1)) }

func (m Mark) of() float64 { return float64(m) / (1 << markBits) }

// Fraction is the mark as a number below 1.
func (m Mark) Fraction() string { return strconv.FormatFloat(m.of(), 'f', -1, 64) }

// Lease is the end of a marked lease, as Redis gets it.
func (m Mark) Lease(seconds int64) string {
	return strconv.FormatFloat(float64(seconds)+m.of(), 'f', -1, 64)
}

// MarkOf is the mark that a lease carries, as Leases tells it, or 0.
func MarkOf(lease string) Mark {
	end, err := strconv.ParseFloat(lease, 64)
	if err != nil {
		return 0
	}
	m := Mark((end - float64(int64(end))) * (1 << markBits))
	if !m.Owns(end) {
		return 0
	}
	return m
}

// Owns says that a lease carries the mark.
func (m Mark) Owns(lease float64) bool { return m != 0 && lease-float64(int64(lease)) == m.of() }
