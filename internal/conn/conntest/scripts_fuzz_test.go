package conntest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is one of weir's, as its text tells it.
type script struct {
	name, src string
	kinds     []string       // of each of KEYS, by the commands used on it, or by kindsOf
	prefixes  map[int]string // those of ARGV that begin keys
	fields    []string       // of hashes: all words that stand between quotes
}

var (
	keysIn   = regexp.MustCompile(`KEYS\[(\d+)`)
	usedAs   = regexp.MustCompile(`call\('([A-Z]+)', KEYS\[(\d+)\]`)
	prefixIn = regexp.MustCompile(`ARGV\[(\d+)\] asynq:\{LANE\}:(\w):`)
	quoted   = regexp.MustCompile(`'([A-Za-z_]+)'`)
)

// ofAnyKind are commands that say nothing of a key's kind.
var ofAnyKind = []string{"DEL", "EXISTS", "EXPIREAT", "PERSIST", "PEXPIRE", "PEXPIREAT", "PTTL", "TYPE"}

// kindsOf are the kinds of KEYS that no command in a script tells, since they have another name
// there or may be of any: H(ash), L(ist), Z(set), G(et) for a string, P(refix) of tasks' keys.
var kindsOf = map[string]map[int]string{
	"doctor/lua/rights.lua":    {1: "G"},
	"gate/lua/take.lua":        {2: "G"},
	"lane/lua/retire.lua":      {1: "G", 2: "H", 3: "G", 4: "G", 5: "Z"},
	"queue/lua/close.lua":      {3: "H"},
	"queue/lua/enqueue.lua":    {2: "P"},
	"queue/lua/forward.lua":    {2: "L", 3: "L", 4: "L"},
	"queue/lua/giveback.lua":   {4: "L", 5: "L", 6: "L"},
	"queue/lua/park.lua":       {2: "Z", 3: "L", 4: "L", 5: "L"},
	"queue/lua/quarantine.lua": {5: "H"},
	"queue/lua/withdraw.lua":   {3: "L", 4: "L", 5: "L"},
}

// readScripts are all of weir's.
func readScripts(t testing.TB) (all []script) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../../*/lua/*.lua", "../../*/*/lua/*.lua"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := script{name: file, src: string(text), prefixes: make(map[int]string)}
		for _, m := range keysIn.FindAllStringSubmatch(s.src, -1) {
			n, _ := strconv.Atoi(m[1])
			for len(s.kinds) < n {
				s.kinds = append(s.kinds, "")
			}
		}
		for _, m := range usedAs.FindAllStringSubmatch(s.src, -1) {
			if n, _ := strconv.Atoi(m[2]); !slices.Contains(ofAnyKind, m[1]) {
				s.kinds[n-1] = m[1][:1]
			}
		}
		for n, kind := range kindsOf[strings.TrimPrefix(file, "../../")] {
			if s.kinds[n-1] != "" {
				t.Errorf("%s: the kind of KEYS[%d] is told twice", file, n)
			}
			s.kinds[n-1] = kind
		}
		if n := slices.Index(s.kinds, ""); n >= 0 {
			t.Errorf("%s: of what kind is KEYS[%d]?", file, n+1)
		}
		for _, m := range prefixIn.FindAllStringSubmatch(s.src, -1) {
			n, _ := strconv.Atoi(m[1])
			s.prefixes[n-1] = "asynq:{x}:" + m[2] + ":"
		}
		for _, m := range quoted.FindAllStringSubmatch(s.src, -1) {
			s.fields = append(s.fields, m[1])
		}
		all = append(all, s)
	}
	if len(all) < 30 {
		t.Fatalf("only %d scripts: %v", len(all), files)
	}
	return all
}

// fill puts values under a key, as the script expects it, or as a string where it is wrong.
func (s script) fill(t testing.TB, pipe redis.Pipeliner, key, kind string, args []any, values []string) {
	ctx := t.Context()
	score := func(i int) float64 {
		f, err := strconv.ParseFloat(values[i%len(values)], 64)
		if err != nil || f != f {
			return float64(i)
		}
		return f
	}
	switch kind {
	case "H":
		for i, field := range s.fields {
			pipe.HSet(ctx, key, field, values[i%len(values)])
		}
		for i, arg := range args {
			pipe.HSet(ctx, key, arg, values[i%len(values)])
		}
	case "L", "R":
		pipe.RPush(ctx, key, args...)
	case "Z":
		for i, arg := range args {
			pipe.ZAdd(ctx, key, redis.Z{Score: score(i), Member: arg})
		}
	case "X":
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []any{"o", values[0]}})
	default:
		pipe.Set(ctx, key, values[0], 0)
	}
}

// Whatever a script is called with, and whatever lies under its keys, it answers, soon, and
// makes no key but those it is given, and those of tasks of its lane; and Redis goes on.
func FuzzScripts(f *testing.F) {
	scripts := readScripts(f)
	for i := range scripts {
		for _, args := range []string{
			"id,1795000000.5,100,1,2,3,0,1,sealed,,5,6,7,8,9,10", "", ",,,,,,,,,,,,,,,,", "-1,-1,-1,-1,-1,-1,-1,-1", "nan,inf,-inf,1e308,0x1p-9,1e-320",
			"1 2 3,4 5 6,7,8", "9007199254740993,18446744073709551616,-9223372036854775808", "ok,*,%s,{y},KEYS[1],asynq:{y}:t:,\x00,\xff",
		} {
			f.Add(uint8(i), ^uint16(0), uint16(0), args, "1,2 3,open,0")
			f.Add(uint8(i), uint16(5), uint16(2), args, `-1,nan,{"v":1},`)
			f.Add(uint8(i), uint16(0), uint16(0), args, "")
		}
	}
	c := Mini(f)
	f.Fuzz(func(t *testing.T, which uint8, there, wrong uint16, arguments, contents string) {
		if len(arguments)+len(contents) > 4<<10 {
			return
		}
		s := scripts[int(which)%len(scripts)]
		var args []any
		for i, arg := range strings.Split(arguments, ",") {
			if prefix, ok := s.prefixes[i]; ok {
				arg = prefix
			}
			args = append(args, arg)
		}
		for i := range s.prefixes { // those that are left out
			for len(args) <= i {
				args = append(args, s.prefixes[len(args)])
			}
		}
		values := strings.Split(contents, ",")
		c.FlushAll(t.Context())
		pipe := c.Pipeline()
		var keys []string
		for i, kind := range s.kinds {
			key := fmt.Sprintf("weir:{x}:key%d", i+1)
			if kind == "P" { // under which nothing lies
				keys = append(keys, "asynq:{x}:t:")
				continue
			}
			keys = append(keys, key)
			if wrong>>i&1 == 1 {
				kind = "G"
			}
			if there>>i&1 == 1 {
				s.fill(t, pipe, key, kind, args, values)
			}
		}
		for _, arg := range args {
			s.fill(t, pipe, fmt.Sprint("asynq:{x}:t:", arg), "H", nil, values)
		}
		_, _ = pipe.Exec(t.Context()) // some values are no scores
		began := time.Now()
		err := c.Eval(t.Context(), s.src, keys, args...).Err()
		var refused redis.Error
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("%s, %q: %v", s.name, args, err)
		}
		if err != nil && wrong == 0 && strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("%s, %q: its keys are of the kinds %q: %v", s.name, args, s.kinds, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s, %q: that took %v", s.name, args, took)
		}
		left, err := c.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatalf("%s, %q: then %v", s.name, args, err)
		}
		for _, key := range left {
			if !slices.Contains(keys, key) && !strings.HasPrefix(key, "asynq:{x}:t:") && !strings.HasPrefix(key, "asynq:{x}:g:") {
				t.Errorf("%s, %q: has made the key %q", s.name, args, key)
			}
		}
	})
}
