package integration_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Help, flags, bad input and exit statuses, as whoever types the commands sees
// them. Besides testscript's own commands a script has
//
//	exits N PROGRAM ARG...     run it; the exit status must be N
//	outcomes FILE [FROM]       stdout, or FROM, must hold the outcomes in FILE
//	bytes FILE "GO\x00STRING"  write a file that is no plain text
//	pack gzip|zstd FROM TO [N] compress a file; only the first N bytes of that
//	redis NAME ARG...          start a redis-server; its URL and address are in $NAME and $NAME_ADDR
//	worker URL ARG...          start a worker, which takes tasks
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", binDir+string(filepath.ListSeparator)+os.Getenv("PATH"))
			env.Values["t"] = env.T().(testing.TB)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scriptExits,
			"outcomes": scriptOutcomes,
			"bytes":    scriptBytes,
			"pack":     scriptPack,
			"redis":    scriptRedis,
			"worker":   scriptWorker,
		},
	})
}

func testOf(ts *testscript.TestScript) testing.TB { return ts.Value("t").(testing.TB) }

// usage fails a script whose command has fewer than n arguments.
func usage(ts *testscript.TestScript, neg bool, args []string, n int) {
	if neg || len(args) < n {
		ts.Fatalf("wrong usage, see TestScripts")
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit status %d, want %d", code, want)
	}
}

// scriptOutcomes compares lines such as
//
//	0 ok {"1":1}
//	1 failed invalid in.txt:2: byte 1 is NUL
//	2 ok {"1":1} of {"n":1}
//
// in their order. What differs from run to run is left out, and the order too where
// FILE begins with "any order".
func scriptOutcomes(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1)
	from := "stdout"
	if len(args) > 1 {
		from = args[1]
	}
	var got []string
	for _, o := range outcomes(testOf(ts), ts.ReadFile(from)) {
		line := fmt.Sprintf("%d %s %s", o.Seq, o.State, o.Result)
		if o.State == batch.Failed {
			line = fmt.Sprintf("%d %s %s %s", o.Seq, o.State, o.Class, o.Error)
		}
		if o.Payload != nil {
			line += " of " + string(o.Payload)
		}
		got = append(got, strings.TrimSpace(line))
	}
	want := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	if want[0] == "any order" {
		want = want[1:]
		slices.Sort(want)
		slices.Sort(got)
	}
	if !slices.Equal(got, want) {
		ts.Fatalf("outcomes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func scriptBytes(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2)
	text, err := strconv.Unquote(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func scriptPack(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3)
	var packed bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&packed)
	if args[0] == "zstd" {
		var err error
		w, err = zstd.NewWriter(&packed)
		ts.Check(err)
	}
	_, err := io.WriteString(w, ts.ReadFile(args[1]))
	ts.Check(errors.Join(err, w.Close()))
	if len(args) > 3 {
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		packed.Truncate(n)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), packed.Bytes(), 0o600))
}

func scriptRedis(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1)
	s := conntest.Server(testOf(ts), args[1:]...)
	host, port, err := net.SplitHostPort(s.Addr())
	ts.Check(err)
	ts.Setenv(args[0], s.URL())
	ts.Setenv(args[0]+"_ADDR", s.Addr())
	ts.Setenv(args[0]+"_HOST", host)
	ts.Setenv(args[0]+"_PORT", port)
}

func scriptWorker(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1)
	startWorker(testOf(ts), args[0], args[1:]...)
}

// peak waits for the end of a process and returns the most memory that it had, in
// MB; 0 where /proc does not tell. (What wait4 tells of a child begins with the size
// of its parent.)
func peak(p *proc) (most float64) {
	for p.running() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
		most = max(most, megabytes(string(text), `(?m)^VmHWM:\s+(\d+) kB$`, 1<<10))
		time.Sleep(2 * time.Millisecond)
	}
	return most
}

// staysSmall waits for the end of a producer that is given something of size, and
// compares it with one that is not.
func staysSmall(t *testing.T, p *proc) (used float64) {
	t.Helper()
	used = peak(p)
	idle := command("producer", "", "run", "square")
	records, stdin := io.Pipe()
	idle.Stdin = records
	waits := start(t, idle)
	_, err := io.WriteString(stdin, "1\n2\n3\n")
	must(t, err)
	waits.prints(3)
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", waits.pid()))
	usual := megabytes(string(text), `(?m)^VmHWM:\s+(\d+) kB$`, 1<<10)
	must(t, stdin.Close())
	waits.wait().exits(t, 0)
	t.Logf("%.0f MB of memory; one with nothing to do has %.0f", used, usual)
	if used > usual+24 {
		t.Errorf("%.0f MB of memory; one with nothing to do has %.0f", used, usual)
	}
	return used
}

// A line of any length is one bad record, and is never in memory.
func TestALineOf100MBIsOneBadRecord(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"lines", "ndjson"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			good := map[string]string{"lines": "7", "ndjson": `{"n":7}`}[format]
			cmd := command("producer", "", "run", "square", "--format", format, "--ordered")
			cmd.Stdin = io.MultiReader(strings.NewReader(good+"\n"), io.LimitReader(endless{}, 100<<20), strings.NewReader("\n"+good+"\n"))
			p := start(t, cmd)
			staysSmall(t, p)
			all := p.wait().exits(t, 1).outcomes(t)
			if len(all) != 3 || all[0].State != batch.OK || all[2].State != batch.OK || all[1].Class != batch.Invalid ||
				all[1].Error != "stdin:2: line is longer than 1048576 bytes" {
				t.Errorf("outcomes %+v", all)
			}
		})
	}
}

// A payload may have 64 KiB and no more, however it is written.
func TestAPayloadOverTheCapIsOneBadRecord(t *testing.T) {
	t.Parallel()
	padded := func(size int) string { return `{"n":7` + strings.Repeat(" ", size-len(`{"n":7}`)) + `}` }
	in := padded(64<<10) + "\n" + padded(64<<10+1) + "\n" + padded(100) + "\n"
	all := producerReading(t, in, "", "run", "square", "--format", "ndjson", "--ordered").exits(t, 1).outcomes(t)
	if len(all) != 3 || all[0].State != batch.OK || all[2].State != batch.OK || all[1].Class != batch.Invalid ||
		all[1].Error != "stdin:2: payload of 65537 bytes is over the cap of 65536; keep larger data in a store, and their address in the payload" {
		t.Errorf("outcomes %+v", all)
	}
}

// endless gives the same letter for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// 10 GB of zeros in 10 MB is refused before they are read.
func TestADecompressionBombIsRefused(t *testing.T) {
	t.Parallel()
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(make([]byte, 32<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := filepath.Join(t.TempDir(), "bomb.gz")
	if err := os.WriteFile(bomb, bytes.Repeat(member.Bytes(), 320), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, "", "run", "square", bomb)
	if used := staysSmall(t, p); used > 64 {
		t.Errorf("10 GB of zeros took %.0f MB of memory", used)
	}
	r := p.wait().exits(t, 2)
	for _, words := range []string{"bomb.gz:", "the gzip data expands more than", "decompression bomb", "decompress it first"} {
		if !strings.Contains(r.stderr, words) {
			t.Errorf("stderr does not say %q:\n%s", words, r.stderr)
		}
	}
}

// A FIFO's records are run as they come; its writer may take its time.
func TestAFIFOIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, "", "run", "square", fifo)
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for n := 1; n <= 3; n++ {
		if _, err := fmt.Fprintln(w, n); err != nil {
			t.Fatal(err)
		}
		p.prints(n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	allOK(t, p.wait().exits(t, 0).outcomes(t), 3)
}

// Files and folders that the user may not read or write are refused before
// anything is done.
func TestNoPermissionIsSaidBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, closed := filepath.Join(dir, "secret"), filepath.Join(dir, "closed")
	if err := errors.Join(os.WriteFile(secret, []byte("1\n"), 0), os.Mkdir(closed, 0o500)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{secret}, "open input " + secret + ": permission denied; run as a user who may read it"},
		{[]string{"--repeat=3", "--out=" + filepath.Join(closed, "out")}, filepath.Join(closed, "out") + ": permission denied"},
	} {
		cmd := command("producer", "", append([]string{"run", "square"}, c.args...)...)
		unprivileged(t, cmd, dir)
		r := start(t, cmd).wait().exits(t, 2)
		if !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("stdout %q, stderr does not say %q:\n%s", r.stdout, c.says, r.stderr)
		}
	}
}

// unprivileged makes root, who may do everything, run cmd as nobody; dir is made
// reachable for that.
func unprivileged(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("runs as root, and there is no setpriv to become somebody else")
	}
	for up := dir; up != os.TempDir() && len(up) > 1; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(binDir, 0o711); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append([]string{setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = setpriv
}

// inShell runs a command by way of a shell script, which has it as "$@".
func inShell(script string, cmd *exec.Cmd) *exec.Cmd {
	return exec.Command("sh", append([]string{"-c", script, "sh", cmd.Path}, cmd.Args[1:]...)...)
}

// A reader that leaves before the first line ends the batch; to whoever wrote the
// pipeline that is success.
func TestAClosedStdoutEndsTheBatch(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	cmd := command("producer", url, "run", "square", "--repeat", "1000000000", "--batch", "unread")
	r := start(t, inShell(`{ "$@"; echo "exit status $?" >&2; } | true`, cmd)).waitAtMost(30 * time.Second)
	for _, words := range []string{"batch unread: cancelled, its reader has gone", "exit status 0"} {
		if !strings.Contains(r.stderr, words) {
			t.Errorf("stderr does not say %q:\n%s", words, r.stderr)
		}
	}
	s := status(t, url, "unread")
	s.addsUp(t)
	if s.State != string(batch.GivenUp) {
		t.Errorf("the batch is %s", s.State)
	}
}

// A full disk behind stdout is not a reader that has gone: the same command goes on.
func TestAFullStdoutIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	url := conntest.Server(t).URL()
	startWorker(t, url)
	args := []string{"run", "square", "--repeat", "100", "--batch", "kept"}
	r := start(t, inShell(`exec "$@" >/dev/full`, command("producer", url, args...))).wait().exits(t, 3)
	if !strings.Contains(r.stderr, "write outcomes to stdout: ") || strings.Count(r.stderr, "no space left on device") != 1 {
		t.Errorf("stderr does not say once that the device is full:\n%s", r.stderr)
	}
	allOK(t, producer(t, url, args...).exits(t, 0).outcomes(t), 100)
}
