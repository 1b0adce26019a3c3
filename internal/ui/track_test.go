package ui

import (
	"runtime"
	"testing"
)

// A history keeps the latest samples, does not change under who reads it, and costs about
// the memory of a sample for each that is added: a thousand lanes have one each.
func TestAHistoryIsBoundedAndNotCopied(t *testing.T) {
	var history *track
	for i := range int64(2 * trackMost) {
		history = history.with(sample{count: i}, trackMost)
	}
	of := func(tr *track) (first, last int64) { return tr.samples[0].count, tr.samples[len(tr.samples)-1].count }
	before := history
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	const more = 10 * trackMost
	for i := range int64(more) {
		history = history.with(sample{count: 2*trackMost + i}, trackMost)
	}
	runtime.ReadMemStats(&m1)
	if first, last := of(history); len(history.samples) != trackMost || first != 11*trackMost || last != 12*trackMost-1 {
		t.Errorf("%d samples from %d to %d", len(history.samples), first, last)
	}
	if first, last := of(before); len(before.samples) != trackMost || first != trackMost || last != 2*trackMost-1 {
		t.Errorf("the one before has become %d samples from %d to %d", len(before.samples), first, last)
	}
	if each := (m1.TotalAlloc - m0.TotalAlloc) / more; each > 2000 {
		t.Errorf("each sample costs %d bytes", each)
	} else {
		t.Logf("each sample costs %d bytes", each)
	}
	if room := cap(history.samples); room > trackMost*3/2 {
		t.Errorf("there is room for %d samples", room)
	}
}
