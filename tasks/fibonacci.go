package tasks

import (
	"context"
	"math/big"
	"math/bits"
	"strconv"
)

// Fibonacci computes the n-th Fibonacci number: fib(0) = 0, fib(1) = 1. The
// largest, of n = 100000, has 20,899 digits and stays well below MaxResult.
var Fibonacci = Define("fibonacci", Policy{}, fibonacci)

// FibonacciPayload says which number.
type FibonacciPayload struct {
	N int `json:"n" weir:"line,required" validate:"gte=0,lte=100000"`
}

func fibonacci(_ context.Context, p FibonacciPayload) (map[string]*big.Int, error) {
	return map[string]*big.Int{strconv.Itoa(p.N): fib(p.N)}, nil
}

// fib goes through n's bits from the highest, keeping a = fib(k) and b = fib(k+1)
// for the k read so far: fib(2k) = a(2b - a), fib(2k+1) = a^2 + b^2.
func fib(n int) *big.Int {
	a, b := big.NewInt(0), big.NewInt(1)
	for i := bits.Len(uint(n)) - 1; i >= 0; i-- {
		even := new(big.Int).Lsh(b, 1)
		even.Mul(even.Sub(even, a), a)
		odd := new(big.Int).Mul(a, a)
		odd.Add(odd, b.Mul(b, b))
		if n>>i&1 == 0 {
			a, b = even, odd
		} else {
			a, b = odd, even.Add(even, odd)
		}
	}
	return a
}
