package invariant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
)

// everySeqOnce is I1.
func (f *facts) everySeqOnce(v *finding) {
	var once, total int64
	for _, b := range f.in.Batches {
		r, o := f.records[b.Name], f.files[b.Name]
		n := r.n()
		if n < 0 {
			v.bad("batch %s is %q: nobody knows how many tasks it has", b.Name, r.fields["state"])
			continue
		}
		total += n
		for seq := range n {
			if o.states[seq] != none && r.has(seq) {
				once++
				continue
			}
			v.bad("%s:%d has no outcome (in Redis %v, in the file %v)", b.Name, seq, r.has(seq), o.states[seq] != none)
		}
		for _, seq := range o.twice {
			once--
			v.bad("%s:%d has two outcomes", b.Name, seq)
		}
		for _, text := range o.bad {
			v.bad("%s: %s", b.Out, text)
		}
	}
	v.says("%d of %d seqs have exactly one outcome", once, total)
}

// allAgree is I2.
func (f *facts) allAgree(v *finding) {
	var bits, counted, added, inFile int64
	for _, b := range f.in.Batches {
		r, o := f.records[b.Name], f.files[b.Name]
		for _, s := range []struct {
			field string
			state byte
		}{{"ok", okay}, {"failed", failed}, {"cancelled", cancelled}} {
			if r.num(s.field) != o.count[s.state] {
				v.bad("%s: counter %s is %d, the file has %d", b.Name, s.field, r.num(s.field), o.count[s.state])
			}
		}
		sum := r.num("ok") + r.num("failed") + r.num("cancelled")
		if r.outcomes() != sum {
			v.bad("%s: %d bits are set, the counters' sum is %d", b.Name, r.outcomes(), sum)
		}
		if sum != r.n() {
			v.bad("%s: the counters' sum is %d of %d", b.Name, sum, r.n())
		}
		if r.added >= 0 && r.added != sum+1 {
			v.bad("%s: the stream had %d entries, not an outcome each and an end: %d", b.Name, r.added, sum+1)
		}
		if r.ends != 1 {
			v.bad("%s: the stream has %d ends", b.Name, r.ends)
		}
		if int64(len(r.dead)) != o.count[failed] {
			v.bad("%s: %d dead letters, %d failed outcomes in the file", b.Name, len(r.dead), o.count[failed])
		}
		if r.fields["state"] != "done" {
			v.bad("%s is %q, not done", b.Name, r.fields["state"])
		}
		bits, counted, added = bits+r.outcomes(), counted+sum, added+r.added
		inFile += o.count[okay] + o.count[failed] + o.count[cancelled]
	}
	v.says("bits %d = counters %d = stream %d - %d ends = file %d", bits, counted, added, len(f.in.Batches), inFile)
}

// outcomesAreTrue is I3.
func (f *facts) outcomesAreTrue(v *finding) {
	var good, bad int64
	for _, b := range f.in.Batches {
		succeeded, starts := f.runs.succeeded[b.Name], f.runs.starts[b.Name]
		for seq, state := range f.files[b.Name].states {
			switch {
			case state == okay && !succeeded[seq]:
				v.bad("%s:%d is ok, but none of its %d executions succeeded", b.Name, seq, starts[seq])
			case state == failed && succeeded[seq]:
				v.bad("%s:%d is failed, but an execution succeeded: %s", b.Name, seq, f.files[b.Name].lines[int64(seq)])
			case state == okay:
				good++
			case state == failed:
				bad++
			}
		}
	}
	for _, text := range f.runs.strange {
		v.bad("nobody asked for the execution %q", text)
	}
	v.says("%d ok with a logged success, %d failed without one", good, bad)
}

// fewDuplicates is I4.
func (f *facts) fewDuplicates(v *finding) {
	var attempts, allowed int64
	for _, b := range f.in.Batches {
		starts := f.runs.starts[b.Name]
		for seq, n := range f.files[b.Name].attempts {
			attempts += int64(n)
			if n > starts[seq] {
				v.bad("%s:%d counts %d attempts and was executed %d times", b.Name, seq, n, starts[seq])
			}
		}
	}
	faults := 0
	for _, e := range f.journal {
		if e.Kind == Fault {
			faults++
			allowed += e.InFlight
		}
	}
	duplicates := f.runs.total - attempts
	if duplicates > allowed {
		v.bad("more than were in flight")
	}
	v.says("%d executions, %d attempts count: %d duplicates, %d were in flight at %d faults",
		f.runs.total, attempts, duplicates, allowed, faults)
}

// firstStands is I5.
func (f *facts) firstStands(v *finding) {
	var seen, letters, left, prefixes int64
	for _, b := range f.in.Batches {
		r, o := f.records[b.Name], f.files[b.Name]
		for _, file := range b.Seen {
			err := eachLine(file, func(text []byte) error {
				seen++
				if seq, same := o.same(text); !same {
					v.bad("%s:%d was seen as %s", b.Name, seq, text)
				}
				return nil
			})
			if err != nil && !errors.Is(err, errUnfinished) { // its reader may have been killed
				v.bad("%v", err)
			}
		}
		for seq, letter := range r.dead {
			letters++
			if !o.sameDead(seq, letter) {
				v.bad("%s:%d has the dead letter %s and in the file %s", b.Name, seq, letter, o.lines[seq])
			}
		}
		for _, text := range r.stream {
			left++
			if seq, same := o.same([]byte(text)); !same {
				v.bad("%s:%d is in the stream as %s", b.Name, seq, text)
			}
		}
	}
	for _, e := range f.journal {
		if e.Kind != Prefix {
			continue
		}
		prefixes++
		if hash, err := HashPrefix(e.File, e.Size); err != nil || hash != e.Hash {
			v.bad("the first %d bytes of %s have changed (%v)", e.Size, e.File, err)
		}
	}
	v.says("%d outcomes seen meanwhile, %d dead letters, %d stream entries and %d beginnings of files are as in the end",
		seen, letters, left, prefixes)
}

// HashPrefix is the SHA-256 of the first bytes of a file.
func HashPrefix(file string, size int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, f, size); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
