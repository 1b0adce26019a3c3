package schedule

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	allKey   = "weir:{:schedules}:all"
	lockKey  = "weir:{:schedules}:lock"
	fenceKey = "weir:{:schedules}:fence"

	// format is the version of a record. A newer one is refused.
	format = 1

	// stamp is how a run's time ends its batch's name, in UTC.
	stamp = "20060102t150405z"

	// MaxMost bounds how many missed runs may be made up for.
	MaxMost = 10_000
)

var (
	//go:embed lua/hold.lua
	holdSrc    string
	holdScript = redis.NewScript(holdSrc)

	//go:embed lua/put.lua
	putSrc    string
	putScript = redis.NewScript(putSrc)

	//go:embed lua/release.lua
	releaseSrc    string
	releaseScript = redis.NewScript(releaseSrc)
)

// Errors of changes.
var (
	ErrUnknown = errors.New("no such schedule")
	ErrTaken   = errors.New("there is a schedule of that name; remove it first, or choose another name")
	errChanged = errors.New("somebody else has changed it at the same time")
	errLost    = errors.New("another daemon has the lock")
)

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// Schedule is a record in Redis.
type Schedule struct {
	Format  int       `json:"format"`
	Name    string    `json:"-"`
	Cron    string    `json:"cron"`
	Zone    string    `json:"tz"`
	Args    []string  `json:"args"` // of the command
	Missed  Missed    `json:"missed"`
	Most    int       `json:"most"`
	Overlap bool      `json:"overlap,omitempty"`
	Paused  bool      `json:"paused,omitempty"`
	Added   time.Time `json:"added"`
	// Next is the first due time that is not decided.
	Next time.Time `json:"next"`
	// Runs were begun, or are about to be, and are not over.
	Runs []Run `json:"runs,omitempty"`
	// Last is the run that was over last, Failed why it failed, if it did.
	Last   time.Time `json:"last,omitzero"`
	Failed string    `json:"failed,omitempty"`

	read string // as it is in Redis
}

// Run is one run of a schedule.
type Run struct {
	At time.Time `json:"at"`
	// Fed says that the command has done its part: the batch goes on by itself.
	Fed bool `json:"fed,omitempty"`
}

// BatchOf is the name of the batch of a run.
func (s *Schedule) BatchOf(at time.Time) string { return s.Name + "-" + at.UTC().Format(stamp) }

func (s *Schedule) validate() error {
	var errs []error
	if !nameRE.MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("name %q: must be 1 to 40 of a-z, 0-9, _ and -, beginning with a letter or digit", s.Name))
	}
	if _, err := parse(s.Cron, s.Zone); err != nil {
		errs = append(errs, err)
	}
	if s.Missed != Skip && s.Missed != Once && s.Missed != All {
		errs = append(errs, fmt.Errorf("missed runs: must be skip, once or all, not %q", s.Missed))
	}
	if s.Most < 1 || s.Most > MaxMost {
		errs = append(errs, fmt.Errorf("missed runs made up for: must be from 1 to %d, not %d", MaxMost, s.Most))
	}
	return errors.Join(errs...)
}

// Store is the schedules of one Redis.
type Store struct{ RDB redis.UniversalClient }

// Add adds a schedule; its first run is the first due time from now on. ErrTaken if there
// is one of its name.
func (s *Store) Add(ctx context.Context, sch *Schedule) error {
	if err := sch.validate(); err != nil {
		return err
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	spec, err := parse(sch.Cron, sch.Zone)
	if err != nil {
		return err
	}
	sch.Format, sch.Added, sch.Next, sch.read = format, now, spec.next(now), ""
	if err := s.put(ctx, "", sch); errors.Is(err, errChanged) {
		return fmt.Errorf("schedule %q: %w", sch.Name, ErrTaken)
	} else if err != nil {
		return err
	}
	return nil
}

// List is all schedules, by name; broken says of each that cannot be read why.
func (s *Store) List(ctx context.Context) (all []*Schedule, broken []error, err error) {
	records, err := s.RDB.HGetAll(ctx, allKey).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("list schedules: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		sch, err := decode(name, records[name])
		if err != nil {
			broken = append(broken, err)
			continue
		}
		all = append(all, sch)
	}
	return all, broken, nil
}

func decode(name, record string) (*Schedule, error) {
	sch := &Schedule{Name: name, read: record}
	if err := json.Unmarshal([]byte(record), sch); err != nil {
		return nil, fmt.Errorf("read schedule %q: %w", name, err)
	}
	if sch.Format > format {
		return nil, fmt.Errorf("schedule %q was made by a newer weir (format %d, this one reads up to %d): upgrade this program", name, sch.Format, format)
	}
	if err := sch.validate(); err != nil {
		return nil, fmt.Errorf("schedule %q: %w", name, err)
	}
	return sch, nil
}

// Pause lets no run of a schedule begin; what has begun goes on.
func (s *Store) Pause(ctx context.Context, name string) error {
	return s.change(ctx, name, func(sch *Schedule, _ time.Time) { sch.Paused = true })
}

// Resume ends Pause: the next run is the first due time from now on.
func (s *Store) Resume(ctx context.Context, name string) error {
	return s.change(ctx, name, func(sch *Schedule, now time.Time) {
		if spec, err := parse(sch.Cron, sch.Zone); err == nil && sch.Paused {
			sch.Paused, sch.Next = false, spec.next(now)
		}
	})
}

// Remove removes a schedule. Its batches stay.
func (s *Store) Remove(ctx context.Context, name string) error { return s.change(ctx, name, nil) }

// change changes a schedule, or removes it where do is nil.
func (s *Store) change(ctx context.Context, name string, do func(*Schedule, time.Time)) error {
	for {
		record, err := s.RDB.HGet(ctx, allKey, name).Result()
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("schedule %q: %w", name, ErrUnknown)
		} else if err != nil {
			return fmt.Errorf("read schedule %q: %w", name, err)
		}
		if do == nil {
			err = s.write(ctx, "", name, record, "")
		} else {
			var sch *Schedule
			if sch, err = decode(name, record); err != nil {
				return err
			}
			now, timeErr := s.now(ctx)
			if timeErr != nil {
				return timeErr
			}
			do(sch, now)
			err = s.put(ctx, "", sch)
		}
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}

// put writes a record over the one that was read.
func (s *Store) put(ctx context.Context, lock string, sch *Schedule) error {
	record, err := json.Marshal(sch)
	if err != nil {
		return fmt.Errorf("write schedule %q: %w", sch.Name, err)
	}
	if err := s.write(ctx, lock, sch.Name, sch.read, string(record)); err != nil {
		return err
	}
	sch.read = string(record)
	return nil
}

func (s *Store) write(ctx context.Context, lock, name, read, record string) error {
	n, err := putScript.Run(ctx, s.RDB, []string{lockKey, allKey}, lock, name, read, record).Int()
	switch {
	case err != nil:
		return fmt.Errorf("write schedule %q: %w", name, err)
	case n == 0:
		return errLost
	case n < 0:
		return errChanged
	}
	return nil
}

// now is Redis' time.
func (s *Store) now(ctx context.Context) (time.Time, error) {
	now, err := s.RDB.Time(ctx).Result()
	if err != nil {
		return now, fmt.Errorf("ask Redis for the time: %w", err)
	}
	return now.UTC(), nil
}
