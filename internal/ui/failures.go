package ui

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

const (
	// indexesMost and indexedMost bound what is remembered of failures: of so many
	// batches, and in all.
	indexesMost, indexedMost = 128, 1_000_000
	// listedMost is how many failures are looked at of a batch that is one of a list.
	listedMost = 1000
	// lettersAtOnce is how many dead letters are read at once.
	lettersAtOnce = 500
)

// failures is the index of a batch's dead letters, which only grow in number: their
// classes and errors, to count, filter and search by. Payloads are read when they are shown.
type failures struct {
	b    *board
	name string
	used time.Time // guarded by the board

	listed shared[int] // lists their seqs; says how many there are

	mu      sync.Mutex
	seqs    []int64   // all, in order
	letters []*letter // beside seqs; nil where it was not read yet
	counted int
	texts   map[string]string // one of each
	classes map[batch.Class]*classCount
	reading bool
}

// letter is as much of a dead letter as is remembered.
type letter struct {
	class batch.Class
	text  string
}

// classCount are the failures of one class, with the first as a sample.
type classCount struct {
	Class batch.Class `json:"class"`
	Count int         `json:"count"`
	Seq   int64       `json:"seq"`
	Error string      `json:"error"`
}

// summary is what failed, by class. Counted is less than Total while they are being read.
type summary struct {
	Counted int           `json:"counted"`
	Total   int           `json:"total"`
	Classes []*classCount `json:"classes"`
}

// index is that of a batch, made when it is first asked for.
func (b *board) index(name string) *failures {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failures[name]
	if f == nil {
		f = &failures{b: b, name: name, texts: make(map[string]string), classes: make(map[batch.Class]*classCount)}
		f.listed.read = f.list
		b.failures[name] = f
		f.used = time.Now()
		for len(b.failures) > 1 && (len(b.failures) > indexesMost || b.indexed() > indexedMost) {
			delete(b.failures, oldest(b.failures, func(f *failures) time.Time { return f.used }))
		}
	}
	f.used = time.Now()
	return f
}

// indexed is how many failures are remembered. The caller has b.mu.
func (b *board) indexed() (n int) {
	for _, f := range b.failures {
		f.mu.Lock()
		n += len(f.seqs)
		f.mu.Unlock()
	}
	return n
}

// list finds the failures that came since.
func (f *failures) list(ctx context.Context) (int, error) {
	n, err := f.b.ledger.DeadLetters(ctx, f.name)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	known := len(f.seqs)
	f.mu.Unlock()
	if int(n) == known {
		return known, nil
	}
	seqs, err := f.b.ledger.FailedSeqs(ctx, f.name)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	letters, old := make([]*letter, len(seqs)), 0
	for i, seq := range seqs { // both are in order
		for old < len(f.seqs) && f.seqs[old] < seq {
			old++
		}
		if old < len(f.seqs) && f.seqs[old] == seq {
			letters[i] = f.letters[old]
		}
	}
	f.seqs, f.letters = seqs, letters
	return len(seqs), nil
}

// grow reads letters that were not read yet, until most are known, in the background.
func (f *failures) grow(most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reading || f.counted >= min(most, len(f.seqs)) {
		return
	}
	f.reading = true
	f.b.working.Go(func() {
		f.b.reading <- struct{}{}
		defer func() {
			<-f.b.reading
			f.mu.Lock()
			f.reading = false
			f.mu.Unlock()
		}()
		for f.growOnce(most) {
		}
	})
}

// growOnce reads some letters; false when there is nothing left to do. An error is told by
// whoever asks next.
func (f *failures) growOnce(most int) bool {
	f.mu.Lock()
	var seqs []int64
	for i, l := range f.letters {
		if l == nil && len(seqs) < min(lettersAtOnce, most-f.counted) {
			seqs = append(seqs, f.seqs[i])
		}
	}
	f.mu.Unlock()
	if len(seqs) == 0 || f.b.ctx.Err() != nil {
		return false
	}
	read, err := f.b.ledger.Failures(f.b.ctx, f.name, seqs)
	if err != nil || len(read) == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range read {
		if i, found := slices.BinarySearch(f.seqs, o.Seq); found && f.letters[i] == nil {
			f.letters[i] = f.remember(o)
			f.counted++
		}
	}
	return true
}

// remember counts a failure. The caller has f.mu.
func (f *failures) remember(o *batch.Outcome) *letter {
	text := o.Error // of at most 1 KiB
	if same, ok := f.texts[text]; ok {
		text = same
	} else {
		text = strings.Clone(text) // not a part of the whole letter
		f.texts[text] = text
	}
	c := f.classes[o.Class]
	if c == nil {
		c = &classCount{Class: o.Class, Seq: o.Seq, Error: text}
		f.classes[o.Class] = c
	}
	c.Count++
	if o.Seq < c.Seq {
		c.Seq, c.Error = o.Seq, text
	}
	return &letter{c.Class, text}
}

// summary is what is known by now; most is how many are to be looked at.
func (f *failures) summary(ctx context.Context, most int) (summary, error) {
	if _, _, err := f.listed.get(ctx); err != nil {
		return summary{}, err
	}
	f.grow(most)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := summary{Counted: f.counted, Total: len(f.seqs), Classes: []*classCount{}}
	for _, c := range f.classes {
		copied := *c
		s.Classes = append(s.Classes, &copied)
	}
	slices.SortFunc(s.Classes, func(a, b *classCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
	return s, nil
}

// Failures is a page of a batch's failures.
type Failures struct {
	summary
	Matching int              `json:"matching"` // of those that were counted
	Page     int              `json:"page"`
	Pages    int              `json:"pages"`
	Rows     []*batch.Outcome `json:"rows"`
}

// page is a page of those that are of a class and have a text in their error, "" being any.
func (f *failures) page(ctx context.Context, class batch.Class, text string, page, per int) (*Failures, error) {
	s, err := f.summary(ctx, indexedMost)
	if err != nil {
		return nil, err
	}
	p := &Failures{summary: s, Rows: []*batch.Outcome{}}
	seqs := f.matching(class, text)
	p.Matching = len(seqs)
	p.Page, p.Pages, seqs = cut(seqs, page, per)
	if p.Rows, err = f.b.ledger.Failures(ctx, f.name, seqs); err != nil {
		return nil, err
	}
	for _, o := range p.Rows {
		o.Signature, o.Payload = "", tasks.Redact(o.Payload)
		if len(o.Payload) > showMax {
			o.Payload = asText(show("", o.Payload))
		}
	}
	if p.Rows == nil {
		p.Rows = []*batch.Outcome{}
	}
	return p, nil
}

// matching are the seqs of a filter, all of them where it is none: those that producer
// failures and retry take, by the very same text.
func (f *failures) matching(class batch.Class, text string) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if class == "" && text == "" {
		return f.seqs
	}
	contains := make(map[string]bool) // errors repeat
	var seqs []int64
	for i, l := range f.letters {
		if l == nil || class != "" && l.class != class {
			continue
		}
		has, asked := contains[l.text]
		if !asked {
			has = strings.Contains(l.text, text)
			contains[l.text] = has
		}
		if has {
			seqs = append(seqs, f.seqs[i])
		}
	}
	return seqs
}

// cut is a page of all: the last where there are fewer.
func cut[T any](all []T, page, per int) (int, int, []T) {
	pages := max(1, (len(all)+per-1)/per)
	page = max(0, min(page, pages-1))
	return page, pages, all[min(page*per, len(all)):min((page+1)*per, len(all))]
}
