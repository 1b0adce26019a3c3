package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// terminal is a real one, of tmux.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, width, height int) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is not in PATH: apt-get install -y tmux (macOS: brew install tmux)")
	}
	dir, err := os.MkdirTemp("", "weir-top-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t, filepath.Join(dir, "s")}
	x.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "env PS1='$ ' sh")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", x.screen())
		}
		x.tmux("kill-server")
		_ = os.RemoveAll(dir)
	})
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", x.socket}, args...)...)
	cmd.Env = append(cleanEnv(), "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (x *terminal) types(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}
func (x *terminal) screen() string { x.t.Helper(); return x.tmux("capture-pane", "-p") }
func (x *terminal) is(what string) string {
	return strings.TrimSpace(x.tmux("display-message", "-p", what))
}

// shows waits for a pattern, and returns what it has in parentheses.
func (x *terminal) shows(pattern string) string {
	x.t.Helper()
	found := ""
	re := regexp.MustCompile("(?m)" + pattern)
	eventually(x.t, long, func() bool {
		m := re.FindStringSubmatch(x.screen())
		if len(m) > 1 {
			found = m[1]
		}
		return m != nil
	}, fmt.Sprintf("%s on the screen", pattern))
	return found
}

// producer top under a real terminal: progress moves, keys are obeyed, the size is followed,
// and the terminal is left as it was.
func TestTheTerminalShowsARunLive(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url, "--concurrency", "5")
	run := startProducer(t, url, "run", "sleep", "--batch", "moving", "--repeat", "1000000", "--payload", sleepOf(0), "--quiet")
	producer(t, url, "run", "sleep", "--batch", "bad", "--repeat", "3", "--retries", "1", "--backoff", "1ms",
		"--payload", `{"task_number":{n},"seconds":0,"fail":"unexpected"}`, "--quiet").exits(t, 1)
	x := newTerminal(t, 80, 24)
	x.types(filepath.Join(binDir, "producer")+" --redis "+url+" top; echo left $?", "Enter")
	done := func() int {
		n, err := strconv.Atoi(strings.ReplaceAll(x.shows(`^moving +running .* ([0-9,]+)/[0-9,]+`), ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := done()
	eventually(t, long, func() bool { return done() > first }, "progress moves")
	if x.is("#{alternate_on}") != "1" {
		t.Error("it writes over what was on the screen")
	}
	x.types("2")
	x.shows(`^LANE +STATE`)
	x.shows(`^sleep +open`)
	x.types("3")
	x.shows(`^1 workers, 5 slots`)
	x.types("1", "/", "bad", "Enter")
	x.shows(`filter bad`)
	x.shows(`^bad +done`)
	x.types("Enter")
	x.shows(`^exhausted 3`)
	x.types("Enter")
	x.shows(`task 0 of batch bad: failed`)
	x.shows(`attempt +1, `)
	x.shows(`unexpected failure`)
	x.types("Escape")
	x.shows(`^exhausted 3`)
	x.tmux("resize-window", "-x", "120", "-y", "30")
	eventually(t, long, func() bool {
		lines := strings.Split(strings.TrimRight(x.screen(), "\n"), "\n")
		return len(lines) == 30 && strings.HasPrefix(lines[29], "q quit")
	}, "it fills the larger screen")
	x.types("q")
	x.shows(`^left 0`)
	if x.is("#{alternate_on}") != "0" || x.is("#{cursor_flag}") != "1" {
		t.Error("the terminal is not as it was")
	}
	x.types("clear; stty -a", "Enter")
	x.shows(`\bicanon\b`)
	if text := x.screen(); strings.Contains(text, "-icanon") || strings.Contains(text, "-echo ") {
		t.Errorf("the terminal is not as it was:\n%s", text)
	}
	run.kill()
}
