package tasks

import (
	"context"
	"math/big"
	"runtime"
)

// Factorial computes n! and reports its size and ends. It is CPU-bound: its
// lane runs one task per core, so that computing never delays waiting.
var Factorial = Define("factorial", Policy{Concurrency: runtime.GOMAXPROCS(0), Retries: NoRetries}, factorial)

// FactorialPayload says which factorial.
type FactorialPayload struct {
	N int `json:"n" weir:"line,required" validate:"gte=0,lte=200000"`
}

// FactorialResult describes n!; the number itself may have a million digits.
type FactorialResult struct {
	N      int    `json:"n"`
	Digits int    `json:"digits"`
	Head   string `json:"head" doc:"the first 20 digits"`
	Tail   string `json:"tail" doc:"the last 20 digits"`
}

func factorial(ctx context.Context, p FactorialPayload) (FactorialResult, error) {
	f, err := product(ctx, 1, int64(p.N))
	if err != nil {
		return FactorialResult{}, err
	}
	digits := f.String()
	return FactorialResult{
		N:      p.N,
		Digits: len(digits),
		Head:   digits[:min(20, len(digits))],
		Tail:   digits[max(0, len(digits)-20):],
	}, nil
}

// product multiplies lo..hi, halves first, since multiplying numbers of equal
// size is cheapest. Between chunks it looks whether the time is up.
func product(ctx context.Context, lo, hi int64) (*big.Int, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	const chunk = 1024
	if hi-lo < chunk {
		return new(big.Int).MulRange(lo, hi), nil
	}
	mid := lo + (hi-lo)/2
	low, err := product(ctx, lo, mid)
	if err != nil {
		return nil, err
	}
	high, err := product(ctx, mid+1, hi)
	if err != nil {
		return nil, err
	}
	return low.Mul(low, high), nil
}
