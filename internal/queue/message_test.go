package queue

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestDecodeReadsAsynqsMessages(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		for _, id := range []string{"b:0", "http-1a2b:1099511627775", strings.Repeat("x", 300), "日本語"} {
			typ, payload := strings.Repeat("t", 200), strings.Repeat("\x1a\x03bad\xff", 1000)
			task := asynq.NewTaskWithHeaders(typ, []byte(payload), map[string]string{"weir": "17", "other": ""})
			if _, err := q.Enqueue(task, asynq.Queue("q"), asynq.TaskID(id), asynq.MaxRetry(1_000_000), asynq.Group("g")); err != nil {
				t.Fatal(err)
			}
			m, err := Decode(q.c.HGet(q.ctx, TaskPrefix("q")+id, "msg").Val())
			if err != nil || m.ID != id || m.Queue != "q" || m.Type != typ || string(m.Payload) != payload ||
				len(m.Headers) != 2 || m.Headers["weir"] != "17" || m.Retried != 0 {
				t.Errorf("read %+v, %v", m, err)
			}
		}
	})
}

func TestDecodeRefusesWhatAsynqWould(t *testing.T) {
	t.Parallel()
	const id = "\x1a\x03b:1"
	if m, err := Decode(id + "\x30\x07"); err != nil || m.ID != "b:1" || m.Retried != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	for what, msg := range map[string]string{
		"nothing":               "",
		"no ID":                 "\x0a\x01t",
		"garbage":               "garbage",
		"a half":                id + "\x0a\x09t",
		"a type not in UTF-8":   id + "\x0a\x02\xff\xfe",
		"a header not in UTF-8": id + "\x7a\x04\x0a\x02\xff\xfe",
		"half a header":         id + "\x7a\x02\x0a\x09",
		"an endless length":     "\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	} {
		if m, err := Decode(msg); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	ok := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "b:1")
	f.Add(string(ok))
	f.Add(string(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7)) + string(ok))
	f.Add(string(ok) + "\x7a\x06\x0a\x01k\x12\x01v")
	f.Add("")
	f.Add("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
	f.Add("\x0b\x0b\x0b")
	f.Fuzz(func(t *testing.T, msg string) {
		m, err := Decode(msg)
		if err == nil && (m.ID == "" || !strings.Contains(msg, m.ID) || !strings.Contains(msg, m.Type)) {
			t.Errorf("Decode(%q) = %+v", msg, m)
		}
	})
}
