package ui

import (
	"context"
	"net/url"
	"time"

	"github.com/weir-tasks/weir/internal/story"
)

// Look is what the pages show, for what shows it elsewhere: read by the same functions,
// and as seldom. It is safe for concurrent use.
type Look struct{ b *board }

// NewLook looks at what w has. Close it.
func NewLook(w Weir) *Look { return &Look{newBoard(w)} }

// Close ends what is read in the background. The client stays open.
func (l *Look) Close() { l.b.close() }

// Filter is what to show of a list, as the pages' addresses have it: q, state, sort, page, per.
type Filter = url.Values

// Batches is a page of the list, and when it was so, as all that follow.
func (l *Look) Batches(ctx context.Context, f Filter) (*Batches, time.Time, error) {
	return l.b.batchesView(ctx, query{f})
}

// Batch is one batch. An error that IsMissing says that there is none.
func (l *Look) Batch(ctx context.Context, name string) (*Batch, time.Time, error) {
	return l.b.batchView(ctx, query{url.Values{"name": {name}}})
}

// Failures is a page of a batch's dead letters.
func (l *Look) Failures(ctx context.Context, name string, f Filter) (*Failures, error) {
	return l.b.index(name).page(ctx, "", f.Get("q"), query{f}.number("page", 0), query{f}.per())
}

// Lanes is a page of the list.
func (l *Look) Lanes(ctx context.Context, f Filter) (*Lanes, time.Time, error) {
	return l.b.lanesView(ctx, query{f})
}

// Workers is a page of the list.
func (l *Look) Workers(ctx context.Context, f Filter) (*Workers, time.Time, error) {
	return l.b.workersView(ctx, query{f})
}

// Redis is Redis.
func (l *Look) Redis(ctx context.Context) (*Redis, time.Time, error) {
	return l.b.redisView(ctx, query{})
}

// Story is one task's.
func (l *Look) Story(ctx context.Context, name string, seq int64) (*story.Story, error) {
	return story.Read(ctx, l.b.weir.Redis(), l.b.ledger, name, seq)
}

// IsMissing says that what was asked for is not there.
func IsMissing(err error) bool { return isMissing(err) }
