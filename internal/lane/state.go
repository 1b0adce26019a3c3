package lane

import "github.com/weir-tasks/weir/internal/lane/governor"

// Broken is the State of a lane whose record in Redis cannot be used.
const Broken = "broken"

// State is what a lane's tasks meet: its governor's state, open where it has none, held
// where the operator has paused it, or Broken.
func (o *Overview) State() string {
	switch {
	case o.Err != nil:
		return Broken
	case o.Config.Paused:
		return governor.Held.String()
	case o.Governed == nil:
		return governor.Open.String()
	}
	return o.Governed.State.String()
}
