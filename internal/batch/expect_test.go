package batch

import "testing"

func TestWhatIsExpectedIsTold(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		if err := l.Expect(l.ctx, "b", Expected{1_000_000, "by the size of its input"}); err != nil {
			t.Fatal(err)
		}
		all, err := l.Expected(l.ctx, []string{"none", "b"})
		if err != nil || len(all) != 2 || all[0] != nil || *all[1] != (Expected{1_000_000, "by the size of its input"}) {
			t.Errorf("%v, %v", all, err)
		}
		if ttl := l.c.PTTL(l.ctx, "weir:{b}:expect").Val(); ttl <= 0 || ttl > expectKept {
			t.Errorf("it stays %v", ttl)
		}
		l.c.Set(l.ctx, "weir:{b}:expect", "nonsense", 0)
		if all, err := l.Expected(l.ctx, []string{"b"}); err != nil || all[0] != nil {
			t.Errorf("nonsense: %v, %v", all, err)
		}
		if none, err := l.Expected(l.ctx, nil); err != nil || len(none) != 0 {
			t.Errorf("of none: %v, %v", none, err)
		}
	})
}
