package batch

import (
	"strings"
	"testing"
	"time"
)

// Each option that must stay the same is one whose change is told by name.
func TestDiffersNamesTheOption(t *testing.T) {
	t.Parallel()
	same := someOptions
	if d := someOptions.Differs(&same); d != "" {
		t.Errorf("the same options differ: %s", d)
	}
	for says, change := range map[string]func(*Options){
		`task type was "sleep" and is now "http"`: func(o *Options) { o.Type = "http" },
		`--lane was "slow" and is now "fast"`:     func(o *Options) { o.Lane = "fast" },
		`--timeout was "1.5s" and is now "2s"`:    func(o *Options) { o.TimeoutMS = 2000 },
		`--retries was "3" and is now "0"`:        func(o *Options) { o.Retries = 0 },
		`--backoff`:                               func(o *Options) { o.BackoffMS = 1 },
		`--with-payload was "false"`:              func(o *Options) { o.WithPayload = true },
		`input was "urls.txt"`:                    func(o *Options) { o.Input = "-" },
		`--out was "" and is now "x"`:             func(o *Options) { o.Out = "x" },
	} {
		other := someOptions
		change(&other)
		if d := someOptions.Differs(&other); !strings.HasPrefix(d, says) {
			t.Errorf("got %q, want %q", d, says)
		}
	}
	if d := someOptions.Timeout(); d != 1500*time.Millisecond {
		t.Errorf("the timeout is %v", d)
	}
}

func TestParseOutcome(t *testing.T) {
	t.Parallel()
	o, err := ParseOutcome([]byte(`{"seq":7,"state":"failed","error":"no","class":"timeout","attempts":2,"ms":1.5,"worker":"h:1","new":1}`))
	if err != nil || o.Seq != 7 || o.State != Failed || o.Class != Timeout || o.Attempts != 2 || o.MS != 1.5 || o.Worker != "h:1" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, line := range []string{"", "{", "[]", `{"seq":"7"}`} {
		if _, err := ParseOutcome([]byte(line)); err == nil {
			t.Errorf("%q is taken for an outcome", line)
		}
	}
}
