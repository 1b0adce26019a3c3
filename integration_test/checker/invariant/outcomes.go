package invariant

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
)

// states of outcomes, as one byte a seq.
const (
	none = iota
	okay
	failed
	cancelled
)

var stateNames = map[string]byte{"ok": okay, "failed": failed, "cancelled": cancelled}

// outFile is what an outcome file holds.
type outFile struct {
	states   []byte
	hashes   []uint64 // of the lines
	attempts []uint16
	lines    map[int64]string // of those that failed
	count    [4]int64
	twice    []int64 // seqs with more than one line
	bad      []string
}

type line struct {
	Seq      int64  `json:"seq"`
	State    string `json:"state"`
	Attempts uint16 `json:"attempts"`
}

var seed = maphash.MakeSeed()

func eachLine(file string, do func(text []byte) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if len(text) > 0 && err == nil {
			if err := do(text[:len(text)-1]); err != nil {
				return fmt.Errorf("%s: line %d: %w", file, n, err)
			}
		}
		if errors.Is(err, io.EOF) {
			if len(text) > 0 {
				return errUnfinished
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errUnfinished = errors.New("the last line is cut off")

func readOut(file string, n int64) (*outFile, error) {
	o := &outFile{
		states: make([]byte, max(n, 0)), hashes: make([]uint64, max(n, 0)), attempts: make([]uint16, max(n, 0)),
		lines: make(map[int64]string),
	}
	err := eachLine(file, func(text []byte) error {
		o.add(text)
		return nil
	})
	if errors.Is(err, errUnfinished) {
		o.bad = append(o.bad, err.Error())
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read outcome file: %w", err)
	}
	return o, nil
}

func (o *outFile) add(text []byte) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		o.bad = append(o.bad, err.Error())
		return
	}
	state := stateNames[l.State]
	switch {
	case l.Seq < 0 || l.Seq >= int64(len(o.states)):
		o.bad = append(o.bad, fmt.Sprintf("seq %d of %d", l.Seq, len(o.states)))
		return
	case state == none:
		o.bad = append(o.bad, fmt.Sprintf("seq %d is %q", l.Seq, l.State))
		return
	case o.states[l.Seq] != none:
		o.twice = append(o.twice, l.Seq)
		return
	}
	o.states[l.Seq], o.hashes[l.Seq], o.attempts[l.Seq] = state, maphash.Bytes(seed, text), l.Attempts
	o.count[state]++
	if state == failed {
		o.lines[l.Seq] = string(text)
	}
}

// same says that a line seen elsewhere is the one in the file.
func (o *outFile) same(text []byte) (seq int64, same bool) {
	var l line
	if json.Unmarshal(text, &l) != nil || l.Seq < 0 || l.Seq >= int64(len(o.hashes)) {
		return -1, false
	}
	return l.Seq, o.hashes[l.Seq] == maphash.Bytes(seed, text)
}

// sameDead says that a dead letter, which has the payload too, is the file's line.
func (o *outFile) sameDead(seq int64, letter string) bool {
	in, err := plain(o.lines[seq])
	dead, deadErr := plain(letter)
	return err == nil && deadErr == nil && in == dead
}

// plain is an outcome without its payload, its fields in the order of their names.
func plain(text string) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return "", err
	}
	delete(fields, "payload")
	out, err := json.Marshal(fields)
	return string(out), err
}
