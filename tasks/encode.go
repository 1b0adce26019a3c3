package tasks

import (
	"cmp"
	"context"
	"fmt"
	"sort"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// encodePayload writes a payload made by Go code; an *InvalidError if it cannot
// be JSON (NaN, invalid UTF-8).
func encodePayload(payload any) ([]byte, error) {
	data, err := json.Marshal(payload, json.Deterministic(true))
	if err != nil {
		return nil, asInvalid(err)
	}
	return data, nil
}

// cutter is a result of which a part can go where the whole is too large. With the first n of
// its length it is no larger than with the first n+1.
type cutter interface {
	length() int
	cut(n int) any
}

// encodeResult writes a handler's result, of a cutter as much as fits. The errors are permanent:
// the same work gives the same result.
func encodeResult(ctx context.Context, t *Type, result any) ([]byte, error) {
	data, err := marshalResult(result)
	if err != nil {
		return nil, Permanent(fmt.Errorf("encode result of %s: %w", t.name, err))
	}
	most := cmp.Or(meansOf(ctx).MaxResult, t.policy.MaxResult)
	if c, ok := result.(cutter); ok && len(data) > most {
		fitting := sort.Search(c.length(), func(n int) bool {
			data, err := marshalResult(c.cut(n + 1))
			return err != nil || len(data) > most
		})
		if data, err = marshalResult(c.cut(fitting)); err != nil {
			return nil, Permanent(fmt.Errorf("encode result of %s: %w", t.name, err))
		}
	}
	if len(data) > most {
		return nil, Permanent(fmt.Errorf("result of %d bytes is over the cap of %d; a worker with a higher --max-result would take it", len(data), most))
	}
	return data, nil
}

// marshalResult makes U+FFFD of what is no UTF-8 rather than fail: what services answer is not
// always valid text, and the work is done.
func marshalResult(result any) ([]byte, error) {
	return json.Marshal(result, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}

func unmarshalResult(data []byte, result any) error { return json.Unmarshal(data, result) }
