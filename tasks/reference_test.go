package tasks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/secret"
)

type secretive struct {
	Text  string            `json:"text,omitzero" validate:"max=100"`
	Texts []string          `json:"texts,omitzero"`
	Map   map[string]string `json:"map,omitzero"`
	N     int               `json:"n,omitzero"`
	Kind  string            `json:"kind,omitzero" validate:"omitempty,oneof=a b"`
	Any   any               `json:"any,omitzero"`
	How   string            `json:"how,omitzero"`
}

// Validate quotes a value, as a careless type may.
func (p *secretive) Validate() error {
	if strings.Contains(p.Text, "bad") {
		return fmt.Errorf("text %q is bad", p.Text)
	}
	return nil
}

var secretiveTask = Define("test-secretive", Policy{MaxPayload: 2000}, func(ctx context.Context, p secretive) (any, error) {
	switch p.How {
	case "error":
		return nil, Overloaded(fmt.Errorf("cannot use %q", p.Text))
	case "cut":
		return nil, errors.New("cannot use " + p.Text[:12] + "... or ..." + p.Text[5:])
	case "panic":
		panic("cannot use " + p.Text)
	}
	return map[string]any{"text": p.Text, "quoted": `"` + p.Text + `"`, "texts": p.Texts, "map": p.Map, "known": hasSecret(ctx, "x "+p.Text)}, nil
})

func withStore(t *testing.T, variables ...string) context.Context {
	t.Helper()
	store, err := secret.New(variables, nil)
	if err != nil {
		t.Fatal(err)
	}
	return WithMeans(t.Context(), &Means{Secrets: store})
}

func TestReferencesStandForTexts(t *testing.T) {
	t.Setenv("TEST_SECRET", `can"ary`+"\n<é>")
	t.Setenv("TEST_SHORT", "abc")
	ctx := withStore(t, "TEST_SECRET", "TEST_SHORT")
	payload := `{"text":{"$env":"TEST_SECRET"}, "texts":["a", {"$env":"TEST_SECRET"}, {"$env":"TEST_SHORT"}, "{\"$env\":\"TEST_SECRET\"}"], "map":{"k":{"$env":"TEST_SECRET"}}, "n":9007199254740993}`
	if err := secretiveTask.Type().Check([]byte(payload)); err != nil {
		t.Fatalf("its producer: %v", err)
	}
	got, err := secretiveTask.Type().Run(ctx, []byte(payload))
	want := `{"known":true,"map":{"k":"***"},"quoted":"\"***\"","text":"***","texts":["a","***","abc","{\"$env\":\"TEST_SECRET\"}"]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	got, err = secretiveTask.Type().Run(ctx, []byte(`{"text":"as it is","map":{"n":"$env"}}`))
	if err != nil || !strings.Contains(string(got), `"text":"as it is"`) || !strings.Contains(string(got), `"known":false`) {
		t.Errorf("without references: %s, %v", got, err)
	}
}

func TestBadReferencesAreInvalid(t *testing.T) {
	for payload, field := range map[string]string{
		`{"text":{"$env":1}}`:                   "text",
		`{"text":{"$env":"A","x":1}}`:           "text",
		`{"text":{"$env":{"$env":"A"}}}`:        "text",
		`{"text":{"$file":null}}`:               "text",
		`{"texts":["a",{"$env":[]}]}`:           "texts.1",
		`{"n":{"$env":"A"}}`:                    "n",
		`{"kind":{"$env":"A"}}`:                 "kind",
		`{"text":{"$other":"A"}}`:               "text",
		`{"text":{"$Env":"A"},"how":"$env"}`:    "text",
		`{"map":{"$env":"A"}}`:                  "map",
		`{"text":{"$env":"A"}`:                  "",
		`{"$env":"A"}`:                          "",
		`{"text":{"$env":"A"},"unknown":1}`:     "unknown",
		`{"any":{"x":{"$env":"A"},"$env":"A"}}`: "ok: a member of that name that is not the first",
		`{"any":{"deep":[[{"$file":"/x"}]]}}`:   "ok",
		`{"text":{"$env":""}}`:                  "ok: what is allowed, the worker knows",
	} {
		err := secretiveTask.Type().Check([]byte(payload))
		if strings.HasPrefix(field, "ok") {
			if err != nil {
				t.Errorf("%s: %v", payload, err)
			}
			continue
		}
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: got %v, want it about %q", payload, err, field)
		}
	}
}

// TestAReferenceThatIsNotAllowedIsRejected, and tells nothing but its name.
func TestAReferenceThatIsNotAllowedIsRejected(t *testing.T) {
	t.Setenv("TEST_SECRET", "canary-12345")
	t.Setenv("TEST_BAD", "canary-bad-canary")
	t.Setenv("TEST_LONG", strings.Repeat("canary", 30))
	_ = os.Unsetenv("TEST_UNSET")
	for _, c := range []struct {
		ctx           context.Context
		payload, want string
	}{
		{t.Context(), `{"text":{"$env":"TEST_SECRET"}}`, `field "text": $env "TEST_SECRET" is not allowed here; start the worker with --allow-env`},
		{withStore(t, "OTHER"), `{"texts":[{"$env":"TEST_SECRET"}]}`, `field "texts.0": $env "TEST_SECRET" is not allowed here`},
		{withStore(t, "TEST_SECRET"), `{"text":{"$file":"/etc/passwd"}}`, `$file "/etc/passwd" is not allowed here; start the worker with --allow-file`},
		{withStore(t, "TEST_UNSET"), `{"text":{"$env":"TEST_UNSET"}}`, "is not set in the worker's environment"},
	} {
		_, err := secretiveTask.Type().Run(c.ctx, []byte(c.payload))
		if !IsRejected(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.payload, err)
		}
	}
	ctx := withStore(t, "TEST_BAD", "TEST_LONG", "TEST_SECRET")
	for payload, field := range map[string]string{
		`{"text":{"$env":"TEST_BAD"}}`:                                       "",
		`{"text":{"$env":"TEST_LONG"}}`:                                      "text",
		`{"kind":{"$env":"TEST_SECRET"}}`:                                    "kind",
		`{"texts":[` + strings.Repeat(`{"$env":"TEST_LONG"},`, 20) + `"x"]}`: "texts.10",
	} {
		_, err := secretiveTask.Type().Run(ctx, []byte(payload))
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != field || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.60s: got %v", payload, err)
		}
	}
}

// TestErrorsLoseSecretsAndNothingElse: what they are stays.
func TestErrorsLoseSecretsAndNothingElse(t *testing.T) {
	t.Setenv("TEST_SECRET", "canary-0123456789")
	ctx := withStore(t, "TEST_SECRET")
	runHow := func(how string) error {
		_, err := secretiveTask.Type().Run(ctx, []byte(`{"text":{"$env":"TEST_SECRET"},"how":"`+how+`"}`))
		return err
	}
	if err := runHow("error"); !IsOverloaded(err) || err.Error() != `cannot use "***"` {
		t.Errorf("got %v", err)
	}
	if err := runHow("cut"); err == nil || err.Error() != "cannot use ***... or ...***" {
		t.Errorf("got %v", err)
	}
	defer func() {
		if v := recover(); v != "cannot use ***" {
			t.Errorf("panics with %v", v)
		}
	}()
	_ = runHow("panic")
}

// TestHTTPSendsSecretsWhereThePayloadSays, and nowhere else.
func TestHTTPSendsSecretsWhereThePayloadSays(t *testing.T) {
	t.Setenv("TEST_TOKEN", "canary-token")
	ctx := withStore(t, "TEST_TOKEN")
	var got http.Header
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	service := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/away":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case r.Header.Get("Authorization") != "canary-token":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprint(w, "you sent ", r.Header.Get("Authorization"))
		}
	})
	payload := func(path, more string) string {
		return fmt.Sprintf(`{"url":"%s%s","headers":{"Authorization":{"$env":"TEST_TOKEN"},"User-Agent":{"$env":"TEST_TOKEN"}}%s}`, service.URL, path, more)
	}
	answer, err := run(t, ctx, HTTP, payload("/", ""))
	if err != nil || answer.Body != "you sent ***" {
		t.Errorf("got %+v, %v", answer, err)
	}
	if _, err := run(t, ctx, HTTP, payload("/away", "")); err != nil || strings.Contains(fmt.Sprint(got), "canary") {
		t.Errorf("elsewhere: %v, %v", got, err)
	}
	got = nil
	_, err = run(t, ctx, HTTP, payload("/away", `,"method":"POST","body":{"$env":"TEST_TOKEN"}`))
	if !IsPermanent(err) || got != nil {
		t.Errorf("a body elsewhere: %v, %v", got, err)
	}
	if _, err := run(t, ctx, HTTP, payload("/away", `,"method":"POST","body":"plain"`)); err != nil || got == nil {
		t.Errorf("a plain body elsewhere: %v, %v", got, err)
	}
	if err := HTTP.Type().Check([]byte(`{"url":{"$env":"TEST_TOKEN"}}`)); err == nil {
		t.Error("a URL, which names the lane, may be a reference")
	}
	lane, err := HTTP.Type().LaneOf([]byte(payload("/", "")))
	if err != nil || !strings.HasPrefix(lane, "127.0.0.1_") {
		t.Errorf("its lane is %q, %v", lane, err)
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		`{"headers":{"Authorization":"Bearer x","accept":"*"}}`:              `{"headers":{"Authorization":"***","accept":"*"}}`,
		`{"x-api-key" : "a\"b", "Cookie":"c","n":1}`:                         `{"x-api-key" : "***", "Cookie":"***","n":1}`,
		`{"PROXY-AUTHORIZATION":"x","access_token":"y","client-secret":"z"}`: `{"PROXY-AUTHORIZATION":"***","access_token":"***","client-secret":"***"}`,
		`{"password":"cut off in the mid`:                                    `{"password":"***"`,
		`{"password":"cut off behind\`:                                       `{"password":"***"`,
		`{"token":{"$env":"TOKEN"},"tokens":3}`:                              `{"token":{"$env":"TOKEN"},"tokens":3}`,
		`{"url":"https://user:pass@h.test/a@b?c=d@e"}`:                       `{"url":"https://***@h.test/a@b?c=d@e"}`,
		`{"url":"https://user:p\u0026s@h.test/"}`:                            `{"url":"https://***@h.test/"}`,
		`{"url":"https://h.test/a@b"}`:                                       `{"url":"https://h.test/a@b"}`,
		`{"text":"my token is \"x\""}`:                                       `{"text":"my token is \"x\""}`,
		`not JSON, {n}`:                                                      `not JSON, {n}`,
		``:                                                                   ``,
	} {
		if got := string(Redact([]byte(in))); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", in, got, want)
		}
	}
}
