package gate

import "sync/atomic"

// Stat is what a gate has done since it was made, and whether it is held now.
type Stat struct {
	Taken     int64 // tasks taken from lanes
	GivenBack int64 // of those, back to their lanes before asynq had them
	PutOff    int64 // of those, of types that this worker does not know
	Failed    int64 // times that Redis did not answer, or refused
	Held      bool  // nothing is taken at present; see Hold
}

type tally struct{ taken, givenBack, putOff, failed atomic.Int64 }

// Stat tells what the gate has done.
func (g *Gate) Stat() Stat {
	g.mu.Lock()
	held := g.holds > 0
	g.mu.Unlock()
	return Stat{
		Taken: g.counts.taken.Load(), GivenBack: g.counts.givenBack.Load(), PutOff: g.counts.putOff.Load(),
		Failed: g.counts.failed.Load(), Held: held,
	}
}
