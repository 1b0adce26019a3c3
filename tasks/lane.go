package tasks

import (
	"errors"

	"github.com/go-json-experiment/json"
)

// laner is implemented by payloads that name their lane: tasks of one type may call many
// services. Lane is called after Validate; its error makes the payload invalid, and so
// does a name that ValidLane refuses.
type laner interface{ Lane() (string, error) }

// DerivesLane says that each payload names its own lane, so that Policy.Lane is not used.
func (t *Type) DerivesLane() bool { return t.lane != nil }

// LaneOf returns the lane of a task with this payload, which has passed Check: the one
// the payload names, else the policy's. Errors: *InvalidError.
func (t *Type) LaneOf(payload []byte) (string, error) {
	if t.lane == nil {
		return t.policy.Lane, nil
	}
	payload, err := withPlaceholders(t, payload)
	if err != nil {
		return "", err
	}
	return t.lane(payload)
}

// laneOf does without the checks of decode: they have been made.
func laneOf[P any](data []byte) (string, error) {
	var p P
	if d, ok := any(&p).(defaulter); ok {
		d.Defaults()
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return "", asInvalid(err)
	}
	return validLane(any(&p).(laner))
}

func validLane(p laner) (string, error) {
	name, err := p.Lane()
	if err == nil {
		err = ValidLane(name)
	}
	var invalid *InvalidError
	switch {
	case err == nil:
		return name, nil
	case errors.As(err, &invalid):
		return "", invalid
	}
	return "", invalidf("", "%v", err)
}
