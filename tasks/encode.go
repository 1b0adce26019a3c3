package tasks

import (
	"cmp"
	"context"
	"fmt"

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

// encodeResult writes a handler's result. What services answer is not always
// valid text: invalid UTF-8 becomes U+FFFD rather than an error, since the work
// is done. The errors are permanent: the same work gives the same result.
func encodeResult(ctx context.Context, t *Type, result any) ([]byte, error) {
	data, err := json.Marshal(result, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, Permanent(fmt.Errorf("encode result of %s: %w", t.name, err))
	}
	most := cmp.Or(meansOf(ctx).MaxResult, t.policy.MaxResult)
	if len(data) > most {
		return nil, Permanent(fmt.Errorf("result of %d bytes is over the cap of %d; a worker with a higher --max-result would take it", len(data), most))
	}
	return data, nil
}

func unmarshalResult(data []byte, result any) error { return json.Unmarshal(data, result) }
