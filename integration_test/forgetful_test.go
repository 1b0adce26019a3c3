package integration_test

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// forgetful is a proxy to Redis that breaks the connection at chosen calls of each
// script: after Redis has run it, so that its reply is lost, or before.
type forgetful struct {
	redis string
	url   string
	after func(call int) bool // which calls of a script, from 1 on, lose their reply
	skip  func(call int) bool // and which are not even sent

	mu      sync.Mutex
	scripts map[string]*script // by SHA-1
}

type script struct {
	name                 string
	calls, after, before int
	last                 time.Time // that one was broken
}

// newForgetful makes one to an address.
func newForgetful(t *testing.T, redis string, after, skip func(call int) bool) *forgetful {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	f := &forgetful{redis: redis, url: "redis://" + l.Addr().String(), after: after, skip: skip, scripts: make(map[string]*script)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f
}

// serve passes one connection's commands and replies on.
func (f *forgetful) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", f.redis)
	if err != nil {
		return
	}
	defer server.Close()
	lost := make(chan bool, 1<<16) // for each command in turn: its reply is
	go func() {
		defer client.Close()
		replies := bufio.NewReader(server)
		for {
			reply, err := element(replies)
			if err != nil {
				return
			}
			if reply[0] != '>' && <-lost {
				return
			}
			if _, err := client.Write(reply); err != nil {
				return
			}
		}
	}()
	commands := bufio.NewReader(client)
	for {
		command, err := element(commands)
		if err != nil {
			return
		}
		before, after := f.meets(command)
		if before {
			return
		}
		lost <- after
		if _, err := server.Write(command); err != nil {
			return
		}
	}
}

// element reads one value of Redis' protocol, whole, as it is on the wire.
func element(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	switch line[0] {
	case '$', '=', '!':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		_, err := io.ReadFull(r, body)
		return append(line, body...), err
	case '%', '|':
		n *= 2
	case '*', '~', '>':
	default:
		return line, nil
	}
	for range n {
		part, err := element(r)
		if err != nil {
			return nil, err
		}
		line = append(line, part...)
	}
	return line, nil
}

var (
	words  = regexp.MustCompile(`\$\d+\r\n`)
	header = regexp.MustCompile(`^-- (\w+)\.lua:`)
)

// meets says what is to happen to a command. Scripts become known when their text
// comes; a call by SHA-1 before that is one that Redis refuses.
func (f *forgetful) meets(command []byte) (before, after bool) {
	head := strings.ToLower(string(command[:min(len(command), 40)]))
	load := strings.Contains(head, "\r\nscript\r\n") && strings.Contains(head, "\r\nload\r\n")
	if !load && !strings.Contains(head, "\r\neval") {
		return false, false
	}
	args := words.Split(string(command), -1)
	for i := range args {
		args[i] = strings.TrimSuffix(args[i], "\r\n")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if load {
		f.learn(args[3])
		return false, false
	}
	sha := args[2]
	if strings.EqualFold(args[1], "eval") {
		sha = f.learn(args[2])
	}
	s := f.scripts[sha]
	if s == nil {
		return false, false
	}
	if s.name == "" {
		s.name = nameOf(args)
	}
	s.calls++
	if f.skip(s.calls) {
		s.before, s.last = s.before+1, time.Now()
		return true, false
	}
	if f.after(s.calls) {
		s.after, s.last = s.after+1, time.Now()
		return false, true
	}
	return false, false
}

// learn notes a script's text.
func (f *forgetful) learn(text string) (sha string) {
	sum := sha1.Sum([]byte(text))
	sha = hex.EncodeToString(sum[:])
	if f.scripts[sha] == nil {
		f.scripts[sha] = new(script)
		if m := header.FindStringSubmatch(text); m != nil {
			f.scripts[sha].name = m[1]
		}
	}
	return sha
}

// nameOf names a script of asynq's by the keys it gets; ours are named by their first
// line.
func nameOf(args []string) string {
	n, _ := strconv.Atoi(args[3])
	var keys []string
	for _, k := range args[4:min(len(args), 4+n)] {
		k = k[strings.LastIndex(k, "}:")+1:]
		keys = append(keys, strings.SplitN(strings.TrimPrefix(k, ":"), ":", 2)[0])
	}
	return "asynq " + strings.Join(keys, ",")
}

// table tells what became of the scripts' calls.
func (f *forgetful) table() (lines []string, names map[string]script) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names = make(map[string]script)
	for _, s := range f.scripts {
		if s.calls == 0 {
			continue
		}
		names[s.name] = *s
		lines = append(lines, fmt.Sprintf("%5d calls, %3d without a reply, %3d not sent: %s", s.calls, s.after, s.before, s.name))
	}
	return lines, names
}
