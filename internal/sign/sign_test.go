package sign

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	now  = time.Unix(1_800_000_000, 0)
	key1 = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	key2 = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("q", 33)))
	task = Task{ID: "batch:7", Type: "http", Payload: []byte(`{"url": "http://a.test/?x=1&y=<2>", "n": 9007199254740993}`)}
)

func keys(t *testing.T, text string) *Keys {
	t.Helper()
	k, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestNoBitMayChange: of the task or of the signature.
func TestNoBitMayChange(t *testing.T) {
	k := keys(t, "a "+key1)
	signature := k.Sign(task, now.Add(time.Hour))
	if err := k.Verify(task, signature, now); err != nil {
		t.Fatal(err)
	}
	flipped := func(s string, each func(string)) {
		for i := range len(s) * 8 {
			b := []byte(s)
			b[i/8] ^= 1 << (i % 8)
			each(string(b))
		}
	}
	tried := 0
	bad := func(what string, altered Task, signature string) {
		tried++
		if err := k.Verify(altered, signature, now); err == nil {
			t.Errorf("%s: %q %q is taken", what, altered, signature)
		}
	}
	flipped(signature, func(s string) { bad("signature", task, s) })
	flipped(task.ID, func(s string) { bad("id", Task{s, task.Type, task.Payload}, signature) })
	flipped(task.Type, func(s string) { bad("type", Task{task.ID, s, task.Payload}, signature) })
	flipped(string(task.Payload), func(s string) {
		if string(compact([]byte(s))) != string(compact(task.Payload)) { // white space
			bad("payload", Task{task.ID, task.Type, []byte(s)}, signature)
		}
	})
	for i := range signature {
		bad("cut signature", task, signature[:i])
	}
	bad("longer", task, signature+"A")
	// What moves from one part to the next.
	bad("moved", Task{task.ID + "h", task.Type[1:], task.Payload}, signature)
	if tried < 1000 {
		t.Errorf("only %d were tried", tried)
	}
}

func TestSignaturesOfOthersAreRefused(t *testing.T) {
	old, both, rotated, stranger := keys(t, "a "+key1), keys(t, "a "+key1+"\nb "+key2), keys(t, "# new first\n\nb "+key2+"\na "+key1), keys(t, "a "+key2)
	until := now.Add(time.Hour)
	for _, c := range []struct {
		what         string
		signs, takes *Keys
		err          string
	}{
		{"its own", old, old, ""},
		{"a key that signs no more", old, rotated, ""},
		{"a key that does not sign yet", rotated, both, ""},
		{"a key that is gone", rotated, old, "key b, which is not known"},
		{"another key of that name", stranger, old, "does not fit"},
	} {
		err := c.takes.Verify(task, c.signs.Sign(task, until), now)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %v", c.what, err)
		}
	}
	if err := old.Verify(task, "", now); !errors.Is(err, ErrUnsigned) {
		t.Errorf("none: %v", err)
	}
	signature := old.Sign(task, until)
	for at, good := range map[time.Time]bool{now: true, until.Add(-1): true, until: false, until.Add(time.Hour): false} {
		if err := old.Verify(task, signature, at); (err == nil) != good || !good && !errors.Is(err, ErrExpired) {
			t.Errorf("at %v: %v", at, err)
		}
	}
	longer := strings.Replace(signature, "1800003600", "1900000000", 1)
	if err := old.Verify(task, longer, now); err == nil || errors.Is(err, ErrExpired) {
		t.Errorf("a later expiry: %v", err)
	}
}

// TestADeadLettersPayloadIsTheSame: it went through encoding/json.
func TestADeadLettersPayloadIsTheSame(t *testing.T) {
	k := keys(t, "a "+key1)
	signature := k.Sign(task, now.Add(time.Hour))
	line, err := json.Marshal(struct{ Payload json.RawMessage }{task.Payload})
	if err != nil {
		t.Fatal(err)
	}
	var letter struct{ Payload json.RawMessage }
	if err := json.Unmarshal(line, &letter); err != nil {
		t.Fatal(err)
	}
	if string(letter.Payload) == string(task.Payload) {
		t.Error("the letter has the very bytes; nothing is tested")
	}
	if err := k.Verify(Task{task.ID, task.Type, letter.Payload}, signature, now); err != nil {
		t.Error(err)
	}
}

func TestReadRefusesWhatIsNoKeepOfSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
	}
	good := "# keys\n2026-11 " + key1 + "\n\nold\t" + key2 + "\r\n"
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o440: true, 0o640: true, 0o644: false, 0o660: false, 0o604: false, 0o602: false, 0o777: false} {
		write(good, mode)
		k, err := Read(path)
		if (err == nil) != want {
			t.Errorf("mode %o: got %v", mode, err)
		}
		if err == nil && (k.first != "2026-11" || len(k.byName) != 2) {
			t.Errorf("got %+v", k)
		}
	}
	for text, want := range map[string]string{
		"":                           "has no key",
		"# nothing\n":                "has no key",
		key1:                         ":1: must be NAME KEY",
		"a b c":                      ":1: must be NAME KEY",
		"a.b " + key1:                ":1: must be NAME KEY",
		"\na c2hvcnQ=":               ":2: key a must be at least 32 bytes",
		"a " + key1[1:]:              ":1: key a must be",
		"a " + key1 + "\na " + key2:  ":2: key a is there twice",
		strings.Repeat("# x\n", 2e4): "larger than",
	} {
		write(text, 0o600)
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v", text, err)
		}
		if err != nil && (strings.Contains(err.Error(), key1[1:20]) || strings.Contains(err.Error(), "c2hvcnQ")) {
			t.Errorf("the error has the key: %v", err)
		}
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("a directory is taken")
	}
	if _, err := Read(path + "x"); err == nil {
		t.Error("a missing file is taken")
	}
}

func FuzzVerify(f *testing.F) {
	k, err := parse("a " + key1)
	if err != nil {
		f.Fatal(err)
	}
	good := k.Sign(task, now.Add(time.Hour))
	for _, s := range []string{good, "", "v1.a.1.x", "v1...", "v1.a.99999999999999999999.x", "...."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, signature string) {
		if k.Verify(task, signature, now) == nil && signature != good {
			t.Errorf("%q is taken", signature)
		}
	})
}
