package source

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestRepeat(t *testing.T) {
	for _, c := range []struct {
		template string
		n        int64
		want     []string
	}{
		{"", 3, []string{`{"line":"0"}`, `{"line":"1"}`, `{"line":"2"}`}},
		{`{"n":{n},"s":"x{n}y{n}"}`, 2, []string{`{"n":0,"s":"x0y0"}`, `{"n":1,"s":"x1y1"}`}},
		{`{"same":true}`, 2, []string{`{"same":true}`, `{"same":true}`}},
		{`{"v":"checked {n}"}`, 0, nil},
	} {
		s, err := Repeat(c.n, c.template, fake{})
		if err != nil {
			t.Fatal(err)
		}
		records, shown := drain(t, s)
		equal(t, c.template, shown, c.want)
		for i, r := range records {
			if want := string(rune('0' + i)); string(r.Raw) != want {
				t.Errorf("Raw %q, want %s", r.Raw, want)
			}
		}
	}
}

func TestRepeatRefuses(t *testing.T) {
	for template, want := range map[string]string{
		`{"n":{n}`:                "repeat payload {\"n\":{n} with {n} = 0: is not a JSON object",
		`{"n":{m}}`:               "repeat payload {\"n\":{m}} with {n} = 0: is not a JSON object",
		`{"n":"bad"}`:             "repeat payload {\"n\":\"bad\"} with {n} = 0: field \"n\": is bad",
		strings.Repeat("{n}", 99): "repeat payload " + strings.Repeat("{n}", 66) + "{n... with {n} = 0: is not a JSON object",
	} {
		if _, err := Repeat(1, template, fake{}); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", template, err, want)
		}
	}
	if _, err := Repeat(-1, "", fake{}); err == nil {
		t.Error("-1 times: no error")
	}
	_, err := Repeat(1, " ", noLines{})
	if want := "repeat without a payload: number 0 as a line: takes no plain lines; give a JSON payload with {n} for the number"; err == nil || err.Error() != want {
		t.Errorf("no lines: %v", err)
	}
}

type noLines struct{ fake }

func (noLines) FromLine(string) ([]byte, error) { return nil, &misfit{"takes no plain lines"} }

func TestRepeatOneThatDoesNotFit(t *testing.T) {
	s, err := Repeat(3, `{"n":{n}}`, upTo1{})
	if err != nil {
		t.Fatal(err)
	}
	_, shown := drain(t, s)
	equal(t, "n", shown, []string{`{"n":0}`, `{"n":1}`, "! number 2: must be 1 or less"})
	var m *misfit
	if _, err := s.Next(); errors.As(err, &m) {
		t.Errorf("the source ended with the record's error %v", err)
	}
}

type upTo1 struct{ fake }

func (upTo1) Check(payload []byte) error {
	if string(payload) > `{"n":1}` {
		return &misfit{"must be 1 or less"}
	}
	return nil
}

func TestRepeatClosed(t *testing.T) {
	s, err := Repeat(1<<62, "", fake{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}
