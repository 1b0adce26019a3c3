package simulation

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/simnet"
)

// machine is where one worker or producer process lives: its way to Redis, which meets
// the faults of this seed, and its clients.
type machine struct {
	*simnet.Node
	w    *world
	name string

	rdb    *redis.Client
	ledger *batch.Ledger

	mu    sync.Mutex
	rng   *rand.Rand
	dying bool
	death *death
	back  time.Time   // when it was last cut off no more
	lost  []time.Time // when it was cut off, or died
	lone  []begin     // of tasks that it asked to run alone
}

// begin is when a worker asked whether it may run a task.
type begin struct {
	batch string
	seq   int64
	at    time.Time
}

// death is how and when a process dies: at one of its requests.
type death struct {
	how   string              // "before", "amid", "after" that request, or "late": it arrives much later
	steps int                 // at which one
	of    func(r []byte) bool // which ones count; nil is all
	late  time.Duration
	then  func()
}

func (w *world) machine(name string, skew time.Duration) *machine {
	m := &machine{Node: w.redis.Node(), w: w, name: name, rng: w.rng(name)}
	m.Node.Meet = m.meet
	m.Node.Refuse = m.refuse
	m.rdb = redis.NewClient(m.Options())
	if skew != 0 {
		m.rdb.AddHook(skewed(skew))
	}
	m.ledger = batch.NewLedger(m.rdb)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines = append(w.machines, m)
	return m
}

func (m *machine) refuse() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dying || m.w.faulty.Load() && m.rng.Float64() < m.w.o.refuse
}

// meet decides what becomes of a request.
func (m *machine) meet(request []byte) simnet.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dying {
		return simnet.CutBefore
	}
	m.lone = append(m.lone, loneBegins(request)...)
	if d := m.death; d != nil && (d.of == nil || d.of(request)) {
		if d.steps--; d.steps <= 0 {
			return m.die(d, request)
		}
	}
	if m.w.faulty.Load() && time.Since(m.w.began)%(15*time.Second) < m.w.o.cutAcks && isAck(request) {
		return simnet.CutBefore
	}
	if !m.w.faulty.Load() || m.rng.Float64() >= m.w.o.flaky {
		return simnet.None
	}
	m.w.count("request faults")
	if isAck(request) {
		m.w.allowAck()
	}
	return []simnet.Fault{simnet.LoseReply, simnet.CutBefore, simnet.CutAmid}[m.rng.IntN(3)]
}

// die kills the process at this request. m.mu is held.
func (m *machine) die(d *death, request []byte) simnet.Fault {
	m.death = nil
	m.w.note("%s dies, %s its request %s", m.name, d.how, brief(request))
	m.dying = true
	m.lost = append(m.lost, time.Now())
	defer func() { go d.then() }()
	switch d.how {
	case "before":
		m.Kill()
		return simnet.CutBefore
	case "late":
		m.w.late.Add(1)
		m.w.timers.Go(func() {
			time.Sleep(d.late)
			m.w.note("what %s sent last arrives", m.name)
			m.Release(true)
			time.Sleep(time.Second) // until Redis has read it
			m.w.late.Add(-1)
		})
		return simnet.DieSending
	}
	m.w.timers.Go(func() { time.Sleep(time.Millisecond); m.Kill() })
	if d.how == "amid" {
		return simnet.CutAmid
	}
	return simnet.LoseReply
}

// dieAt arms a death.
func (m *machine) dieAt(d *death) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.death = d
}

// isLost notes that Redis hears no more of it.
func (m *machine) isLost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = append(m.lost, time.Now())
}

// lostIn is how often it was lost between two times.
func (m *machine) lostIn(from, to time.Time) (times int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range m.lost {
		if !at.Before(from) && !at.After(to) {
			times++
		}
	}
	return times
}

// lostBeginning says that before then it was lost soon after it had asked to run this task
// alone: Redis has it as running then, though no handler may have heard the answer.
func (m *machine) lostBeginning(name string, seq int64, then time.Time) bool {
	m.mu.Lock()
	begins := slices.Clone(m.lone)
	m.mu.Unlock()
	return slices.ContainsFunc(begins, func(b begin) bool {
		to := b.at.Add(onItsWay)
		if to.After(then) {
			to = then
		}
		return b.batch == name && b.seq == seq && m.lostIn(b.at, to) > 0
	})
}

// isBack notes that it is cut off no more.
func (m *machine) isBack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.back = time.Now()
}

// backSince says that it has been cut off at some time since then.
func (m *machine) backSince(then time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.back.Before(then)
}

// gone says that the process is dead.
func (m *machine) gone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dying || m.Dead()
}

// isCheckpoint says that a request moves a batch's checkpoint: the only script with one
// key, the batch's, and three arguments.
func isCheckpoint(request []byte) bool {
	return bytes.Contains(request, []byte("*7\r\n$7\r\nevalsha\r\n")) && bytes.Contains(request, []byte(":batch\r\n")) ||
		bytes.Contains(request, []byte("*7\r\n$4\r\neval\r\n")) && bytes.Contains(request, []byte(":batch\r\n"))
}

var beginCall = regexp.MustCompile(`weir:\{([^}]+)\}:batch\r\n\$\d+\r\nweir:\{[^}]+\}:bits:\d+\r\n\$\d+\r\nweir:\{[^}]+\}:suspects\r\n` +
	`\$\d+\r\n\d+\r\n\$\d+\r\n\d+\r\n\$\d+\r\n0[0-9.]*\r\n\$\d+\r\n\d+\r\n((?:\$\d+\r\n\d+\r\n)+)`)

// loneBegins finds in a request the calls of begin.lua whose task would run alone.
func loneBegins(request []byte) (begins []begin) {
	for _, call := range beginCall.FindAllSubmatch(request, -1) {
		words := bytes.Fields(call[2])
		for i := 1; i < len(words); i += 2 {
			seq, _ := strconv.ParseInt(string(words[i]), 10, 64)
			begins = append(begins, begin{string(call[1]), seq, time.Now()})
		}
	}
	return begins
}

// isOf says that a request's first call is of those kinds that a number chooses: of every eight
// one. Calls of one script are of a kind, others by their command and their key's last part.
func isOf(choice uint32) func(request []byte) bool {
	return func(request []byte) bool {
		words := bytes.SplitN(request, []byte("\r\n"), 10)
		if len(words) < 6 {
			return false
		}
		kind, key := words[2], words[4]
		switch {
		case bytes.EqualFold(kind, []byte("eval")):
			sum := sha1.Sum(key)
			kind = hex.AppendEncode(nil, sum[:])
		case bytes.EqualFold(kind, []byte("evalsha")):
			kind = key
		default:
			kind = append(bytes.ToLower(kind), key[bytes.LastIndexByte(key, '}')+1:]...)
		}
		h := fnv.New32a()
		h.Write(kind)
		return (h.Sum32()^choice)%8 == 0
	}
}

// isEnqueue says that a request of a producer enqueues tasks: no other has a payload.
func isEnqueue(request []byte) bool { return bytes.Contains(request, []byte(`"world":`)) }

// isWithdrawal says that a request takes tasks out of a queue: no other script of a producer's
// has for its first keys what is scheduled and what is to run again.
func isWithdrawal(request []byte) bool { return withdrawal.Match(request) }

var withdrawal = regexp.MustCompile(`\r\n\$1\r\n\d\r\n\$\d+\r\nasynq:\{[^}]+\}:scheduled\r\n\$\d+\r\nasynq:\{[^}]+\}:retry\r\n`)

// isStop says that a request marks a batch as stopped, or no longer so: no other script has
// these two keys.
func isStop(request []byte) bool { return stop.Match(request) }

var stop = regexp.MustCompile(`\r\nweir:\{[^}]+\}:batch\r\n\$\d+\r\nweir:\{[^}]+\}:producer\r\n`)

// isAck says that a request closes or retries a task in asynq: those scripts count what
// was processed.
func isAck(request []byte) bool { return bytes.Contains(request, []byte("}:processed:")) }

// brief is a request in one line.
func brief(request []byte) string {
	words := bytes.Split(request, []byte("\r\n"))
	var args [][]byte
	for i := 2; i < len(words) && len(args) < 8; i += 2 {
		args = append(args, words[i][:min(len(words[i]), 40)])
	}
	return string(bytes.Join(args, []byte(" ")))
}
