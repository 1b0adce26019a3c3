// Package sign signs tasks, so that a worker can tell those of a producer it trusts from
// what anybody else has written into Redis.
//
// What always holds:
//
//   - A signature is an HMAC-SHA256 over the key's name, the expiry, the task's ID, which
//     is batch and seq, its type and its payload.
//   - Payloads are signed as compact JSON: white space does not count, everything else does.
//   - The first key of a file signs, all of them verify: a new key is put last everywhere,
//     then first everywhere, and the old one goes when its signatures have expired.
//   - Keys come from a file that others can neither read nor write.
//
// Who can write to Redis can still take tasks away, and put a signed task back before it
// expires, under its own ID. The ledger knows that ID's outcome, as long as it is there.
package sign

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weir-tasks/weir/internal/secret"
)

const (
	version = "v1"

	// minKey is the fewest bytes of a key: as many as the hash has.
	minKey = sha256.Size
)

// ErrUnsigned says that a task has no signature.
var ErrUnsigned = errors.New("the task is not signed")

// ErrExpired says that a signature was good once.
var ErrExpired = errors.New("the task's signature has expired")

var errAltered = errors.New("the task's signature does not fit it: it was altered, or made by somebody else")

var nameRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// Task is what is signed.
type Task struct {
	ID, Type string
	Payload  []byte
}

// Keys are secrets by name.
type Keys struct {
	first  string // signs
	byName map[string][]byte
}

// Read reads a file of keys, one a line: a name and at least 32 bytes in base64. Empty
// lines and those that begin with # do not count. It fails for a file that others may
// read or write. No error has a key in it.
func Read(path string) (*Keys, error) {
	text, err := secret.Read(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	keys, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read keys: %s%w", path, err)
	}
	return keys, nil
}

func parse(text string) (*Keys, error) {
	k := &Keys{byName: make(map[string][]byte)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 2 || !nameRE.MatchString(words[0]) {
			return nil, fmt.Errorf(":%d: must be NAME KEY, the name of letters, digits, _ and -", n)
		}
		key, err := base64.StdEncoding.DecodeString(words[1])
		if err != nil || len(key) < minKey {
			return nil, fmt.Errorf(":%d: key %s must be at least %d bytes in base64, as `head -c %d /dev/urandom | base64` makes them", n, words[0], minKey, minKey)
		}
		if k.byName[words[0]] != nil {
			return nil, fmt.Errorf(":%d: key %s is there twice", n, words[0])
		}
		if k.first == "" {
			k.first = words[0]
		}
		k.byName[words[0]] = key
	}
	if k.first == "" {
		return nil, errors.New(" has no key")
	}
	return k, nil
}

// Sign returns a task's signature, good until a time.
func (k *Keys) Sign(t Task, until time.Time) string {
	expiry := strconv.FormatInt(until.Unix(), 10)
	return strings.Join([]string{version, k.first, expiry, encode(mac(k.byName[k.first], k.first, expiry, t))}, ".")
}

// Verify is nil for a signature that one of the keys has made of this task. ErrUnsigned for
// none, ErrExpired for one whose time is over and that is good otherwise.
func (k *Keys) Verify(t Task, signature string, now time.Time) error {
	if signature == "" {
		return ErrUnsigned
	}
	parts := strings.Split(signature, ".")
	if len(parts) != 4 || parts[0] != version || !nameRE.MatchString(parts[1]) {
		return errAltered
	}
	key, known := k.byName[parts[1]]
	if !known {
		return fmt.Errorf("the task is signed with key %s, which is not known here", parts[1])
	}
	if !hmac.Equal([]byte(parts[3]), []byte(encode(mac(key, parts[1], parts[2], t)))) {
		return errAltered
	}
	expiry, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return errAltered
	}
	if until := time.Unix(expiry, 0); !now.Before(until) {
		return fmt.Errorf("%w, at %s; producer retry signs it again", ErrExpired, until.UTC().Format(time.RFC3339))
	}
	return nil
}

func encode(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }

// mac hashes the parts, each after its length, so that no two tasks are the same bytes.
func mac(key []byte, name, expiry string, t Task) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("weir task " + version), []byte(name), []byte(expiry), []byte(t.ID), []byte(t.Type), compact(t.Payload)} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// compact is a payload as dead letters keep it, so that a task's signature is good there
// too: JSON without white space, and with <, > and & escaped.
func compact(payload []byte) []byte {
	var tight, escaped bytes.Buffer
	if err := json.Compact(&tight, payload); err != nil {
		return payload
	}
	json.HTMLEscape(&escaped, tight.Bytes())
	return escaped.Bytes()
}
