package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// restarting is a place whose Redis may die.
func restarting(t *testing.T) (*place, *conntest.RealServer) {
	t.Parallel()
	server := conntest.Server(t)
	return newPlace(t, server.Client()), server
}

func encode(n int) ([]byte, error) {
	if n < 0 {
		return nil, errors.New("below 0")
	}
	return []byte(itoa(n)), nil
}

func TestPayloadsAreASource(t *testing.T) {
	t.Parallel()
	src := Payloads(func(yield func(int) bool) {
		for _, n := range []int{1, -1, 3} {
			if !yield(n) {
				return
			}
		}
	}, encode)
	var got []string
	for {
		r, err := src.Next()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		got = append(got, fmt.Sprintf("%s %s %v", r.Payload, r.Raw, r.Err))
	}
	if want := "[1 1 <nil>   below 0 3 3 <nil>]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
	if _, err := src.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	for range 2 {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestClosingPayloadsEndsTheSequence(t *testing.T) {
	t.Parallel()
	ended := false
	src := Payloads(func(yield func(int) bool) {
		defer func() { ended = true }()
		for i := 0; yield(i); i++ {
		}
	}, encode)
	if _, err := src.Next(); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil || !ended {
		t.Errorf("%v, ended %v", err, ended)
	}
	if _, err := src.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	fresh := Payloads(func(func(int) bool) { t.Error("the sequence began") }, encode)
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
}

// The sequence waits for something of its own, in the goroutine of the feeder.
func TestClosingPayloadsDoesNotWaitForTheSequence(t *testing.T) {
	t.Parallel()
	waiting, more, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	src := Payloads(func(yield func(int) bool) {
		defer close(ended)
		close(waiting)
		<-more
		if yield(1) {
			t.Error("it was asked for more")
		}
	}, encode)
	next := make(chan error, 1)
	go func() { _, err := src.Next(); next <- err }()
	<-waiting
	for range 2 {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	close(more)
	<-ended
	<-next
	if _, err := src.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAPipeHandsLinesOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	p := NewPipe(ctx)
	go func() {
		_ = p.Put([]byte("a"))
		_ = p.Put([]byte("b"))
		p.Close(errFull)
	}()
	var got []string
	for line := range p.Lines() {
		got = append(got, string(line))
	}
	if fmt.Sprint(got) != "[a b]" || p.Wait() != errFull || p.Wait() != errFull {
		t.Errorf("%v, %v", got, p.Wait())
	}
	p = NewPipe(ctx)
	time.AfterFunc(10*time.Millisecond, func() { cancel(errSignal) })
	if err := p.Put([]byte("c")); err != errSignal { // nobody takes it
		t.Errorf("put with %v", err)
	}
}

func TestKeepKeepsTheLastLine(t *testing.T) {
	t.Parallel()
	var last []byte
	k := NewKeep(&last)
	if err := errors.Join(k.Put([]byte("a")), k.Put([]byte("b")), k.Flush(), k.Commit()); err != nil || string(last) != "b" || k.Has(0) {
		t.Errorf("%v, %s", err, last)
	}
}
