package tasks

import (
	"context"
	"math/big"
	"strconv"
)

// Square computes n squared, exactly for every n.
var Square = Define("square", Policy{}, square)

// SquarePayload is the number to square.
type SquarePayload struct {
	N int64 `json:"n" weir:"line,required"`
}

func square(_ context.Context, p SquarePayload) (map[string]*big.Int, error) {
	n := big.NewInt(p.N)
	return map[string]*big.Int{strconv.FormatInt(p.N, 10): n.Mul(n, n)}, nil
}
