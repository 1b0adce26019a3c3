package tasks

import (
	"context"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestSquare(t *testing.T) {
	for line, want := range map[string]string{
		"0":                    `{"0":0}`,
		"12":                   `{"12":144}`,
		"-9223372036854775808": `{"-9223372036854775808":85070591730234615865843651857942052864}`,
	} {
		payload, err := Square.Type().FromLine(line)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Square.Type().Run(t.Context(), payload)
		if err != nil || string(got) != want {
			t.Errorf("square of %s: got %s, %v", line, got, err)
		}
	}
	_, err := run(t, t.Context(), Square, `{"n":9223372036854775808}`)
	wantInvalid(t, err, "n", "9223372036854775808 is too large")
}

func TestFibonacci(t *testing.T) {
	a, b := big.NewInt(0), big.NewInt(1)
	for n := range 300 {
		if got := fib(n); got.Cmp(a) != 0 {
			t.Fatalf("fib(%d) = %d, want %d", n, got, a)
		}
		a.Add(a, b)
		a, b = b, a
	}
	got, err := run(t, t.Context(), Fibonacci, `{"n":100000}`)
	if err != nil {
		t.Fatal(err)
	}
	digits := got["100000"].String()
	if len(digits) != 20899 || !strings.HasPrefix(digits, "2597406934722172") || !strings.HasSuffix(digits, "428746875") {
		t.Errorf("got %d digits, %.20s...%s", len(digits), digits, digits[len(digits)-20:])
	}
	_, err = run(t, t.Context(), Fibonacci, `{"n":100001}`)
	wantInvalid(t, err, "n", "must be 100,000 or less")
	_, err = run(t, t.Context(), Fibonacci, `{"n":-1}`)
	wantInvalid(t, err, "n", "must be 0 or greater")
}

func TestFactorial(t *testing.T) {
	for payload, want := range map[string]FactorialResult{
		`{"n":0}`:    {0, 1, "1", "1"},
		`{"n":5}`:    {5, 3, "120", "120"},
		`{"n":25}`:   {25, 26, "15511210043330985984", "10043330985984000000"},
		`{"n":5000}`: {5000, 16326, "42285779266055435222", "00000000000000000000"},
	} {
		if got, err := run(t, t.Context(), Factorial, payload); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", payload, got, err)
		}
	}
	direct, err := product(t.Context(), 1, 5000)
	if err != nil || direct.Cmp(new(big.Int).MulRange(1, 5000)) != 0 {
		t.Errorf("the product in chunks differs: %v", err)
	}
	if p := Factorial.Type().Policy(); p.Concurrency != runtime.GOMAXPROCS(0) || p.Retries != 0 || p.Lane != "factorial" {
		t.Errorf("got %+v", p)
	}
}

func TestFactorialStopsAtTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := run(t, ctx, Factorial, `{"n":200000}`); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
