package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/telemetry"
	"github.com/weir-tasks/weir/internal/work"
)

func readme(t *testing.T) string { return content(t, "../README.md") }

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the fenced blocks of a language, each with the line of text above it.
func blocks(text, language string) (found []struct{ above, text string }) {
	for _, m := range regexp.MustCompile("(?ms)^([^\n]*)\n\n?```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, struct{ above, text string }{m[1], m[2]})
	}
	return found
}

// rows are the table rows under the first header that begins with these cells.
func rows(t *testing.T, text string, header ...string) (found [][]string) {
	t.Helper()
	_, table, ok := strings.Cut(text, "\n| "+strings.Join(header, " | ")+" |")
	if !ok {
		t.Fatalf("README.md has no table headed %q", header)
	}
	_, table, _ = strings.Cut(table, "\n") // the rest of the header
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for _, cell := range regexp.MustCompile(`(?:\\\||[^|\n])+`).FindAllString(line, -1) {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), `\|`, "|"))
		}
		if !strings.HasPrefix(cells[0], "--") { // the line under the header
			found = append(found, cells)
		}
	}
	return found
}

// code is what stands between the backticks of a text.
func code(text string) (words []string) {
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

// sameLines tells in what two lists differ, whatever their order.
func sameLines(t *testing.T, what string, inReadme, really []string) {
	t.Helper()
	for _, line := range really {
		if !slices.Contains(inReadme, line) {
			t.Errorf("%s: README.md lacks %s", what, line)
		}
	}
	for _, line := range inReadme {
		if !slices.Contains(really, line) {
			t.Errorf("%s: README.md has %s, which is not so", what, line)
		}
	}
}

// The transcripts are what the commands print, but for times, rates, hosts, process
// numbers and what is random in a name.
func TestReadmesTranscriptsAreWhatIsPrinted(t *testing.T) {
	t.Parallel()
	masks := []struct{ what, by string }{
		{`"worker":"[^":]+:\d+"`, `"worker":"W"`},
		{`"ms":[0-9.]+`, `"ms":T`},
		{`(batch \w+)-[0-9a-f]{8}`, `$1-H`},
		{`\b\d+m\d+s\b|\b\d+\.\d+s\b`, `T`},
		{`\b\d+(\.\d+)?/s`, `R/s`},
		{`\b(p50|p95|p99|max) +\d+\.\d+`, `$1 T`},
		{` +`, ` `},
	}
	mask := func(s string) string {
		for _, m := range masks {
			s = regexp.MustCompile(m.what).ReplaceAllString(s, m.by)
		}
		return strings.TrimSpace(s)
	}
	transcripts := blocks(readme(t), "console")
	if len(transcripts) == 0 {
		t.Fatal("README.md has no transcript")
	}
	for _, transcript := range transcripts {
		first, want, _ := strings.Cut(transcript.text, "\n")
		line := strings.ReplaceAll(strings.TrimPrefix(first, "$ "), "go run ./producer", filepath.Join(binDir, "producer"))
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Env = cleanEnv()
		got, _ := cmd.CombinedOutput() // the exit status may be 1; what else goes wrong shows
		// A slow machine may have time for a line of progress.
		text := regexp.MustCompile(`(?m)^batch \S+: \d+/\d+ done.*\n`).ReplaceAllString(string(got), "")
		if mask(text) != mask(want) {
			t.Errorf("%s\nprints\n%s\nREADME.md has\n%s", first, mask(text), mask(want))
		}
	}
}

// TestReadmesConfigurationIsThatOfHelp compares every flag with its environment
// variables and default, both ways.
func TestReadmesConfigurationIsThatOfHelp(t *testing.T) {
	t.Parallel()
	commands := map[string][]string{"worker": {"worker"}}
	for _, name := range producerCommands(t) {
		commands[name] = append([]string{"producer"}, strings.Fields(name)...)
	}
	var described []string
	for _, cells := range rows(t, readme(t), "flag", "environment", "default", "of") {
		for name := range commands {
			if of := strings.Split(cells[3], ", "); !slices.Contains(of, name) && cells[3] != "all" {
				continue
			}
			flag, _, _ := strings.Cut(code(cells[0])[0], " ")
			described = append(described, strings.TrimSpace(fmt.Sprintf("%s: %s %v %v", name, flag, code(cells[1]), code(cells[2]))))
		}
	}
	var real []string
	for name, command := range commands {
		out, err := exec.Command(filepath.Join(binDir, command[0]), append(command[1:], "--help")...).Output()
		if err != nil {
			t.Fatalf("%v --help: %v", command, err)
		}
		_, flags, _ := strings.Cut(string(out), "\nFlags:\n")
		for _, flag := range regexp.MustCompile(`(?m)^  +(?:-\w, +)?(--\S.*(?:\n {20}.*)*)`).FindAllStringSubmatch(flags, -1) {
			text := strings.Join(strings.Fields(flag[1]), " ")
			long, help, _ := strings.Cut(text, " ")
			long, value, _ := strings.Cut(long, "=")
			if long == "--help" {
				continue
			}
			env, preset := []string{}, []string{}
			if m := regexp.MustCompile(`\((\$[^)]*)\)\.$`).FindStringSubmatch(help); m != nil {
				env = strings.Split(strings.ReplaceAll(m[1], "$", ""), ", ")
			}
			if value = strings.Trim(value, `"`); value != "" && value == strings.ToLower(value) { // else a placeholder
				preset = []string{value}
			}
			real = append(real, fmt.Sprintf("%s: %s %v %v", name, long, env, preset))
		}
	}
	if len(real) < 60 {
		t.Fatalf("only %d flags were found in the help", len(real))
	}
	sameLines(t, "configuration", described, real)
}

// TestReadmesFieldsOfStatusAreThosePrinted: what scripts read is described.
func TestReadmesFieldsOfStatusAreThosePrinted(t *testing.T) {
	t.Parallel()
	var described, printed []string
	for _, cells := range rows(t, readme(t), "status", "is") {
		described = append(described, code(cells[0])...)
	}
	url := conntest.Server(t).URL()
	producer(t, url, "enqueue", "square", "--repeat", "3", "--batch", "b", "--quiet").exits(t, 0)
	var line map[string]any
	if err := json.Unmarshal([]byte(producer(t, url, "status", "b", "--json").exits(t, 0).stdout), &line); err != nil {
		t.Fatal(err)
	}
	for field := range line {
		printed = append(printed, field)
	}
	sameLines(t, "fields of status --json", described, printed)
	sum := 0.0
	for _, field := range []string{"ok", "failed", "cancelled", "pending", "scheduled", "retry", "active", "missing"} {
		n, ok := line[field].(float64)
		if !ok {
			t.Errorf("%s is %v", field, line[field])
		}
		sum += n
	}
	if line["read"] != 3.0 || sum != 3 || line["n"] != 3.0 || line["state"] != "sealed" {
		t.Errorf("%v", line)
	}
}

// producerCommands are those that its help lists.
func producerCommands(t *testing.T) (names []string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(binDir, "producer"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(out), "\nCommands:\n")
	for _, m := range regexp.MustCompile(`(?m)^  (\w+(?: \w+)?)  `).FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	if len(names) < 7 {
		t.Fatalf("found only %v", names)
	}
	return names
}

// TestReadmesListOfCommandsIsThatOfHelp: each command has its line.
func TestReadmesListOfCommandsIsThatOfHelp(t *testing.T) {
	t.Parallel()
	var described []string
	for _, cells := range rows(t, readme(t), "command", "does") {
		for _, command := range code(cells[0]) {
			if words := strings.Fields(command); words[0] == "producer" {
				name := words[1]
				if name == "schedule" {
					name += " " + words[2]
				}
				described = append(described, name)
			}
		}
	}
	sameLines(t, "list of commands", described, producerCommands(t))
}

// TestReadmesMetricsAreThoseServed compares names, types and labels with what a
// process serves that is all at once.
func TestReadmesMetricsAreThoseServed(t *testing.T) {
	t.Parallel()
	metrics := telemetry.New("v")
	rdb := conntest.Server(t).Client()
	metrics.Pool(rdb)
	metrics.Cluster(rdb, slog.New(slog.DiscardHandler), func(context.Context, lane.Cluster) (*lane.Signal, error) {
		soon := 1.0
		return &lane.Signal{Drain: &soon, Lanes: []lane.Demand{{Lane: "a", Drain: &soon, State: "held"}}}, nil
	})
	worker := metrics.Worker()
	governed := &governor.Stat{Grant: governor.Grant{Lease: time.Second}}
	worker.Watch(func() work.Stat { return work.Stat{Lanes: []lane.Stat{{Name: "a", Governed: governed}}} })
	worker.Result("a", governor.OK)
	worker.Sync("a", governor.Grant{Why: "slow start"}, time.Millisecond, nil)
	worker.Observe(attempt.Attempt{Type: "sleep", Lane: "sleep", Verdict: "failed", Class: batch.Timeout, Took: time.Second, Age: time.Second})
	worker.Started("sleep", time.Second)
	producer := metrics.Producer()
	producer.Watch(func() produce.Progress { return produce.Progress{} })
	producer.Outcome(&batch.Outcome{State: batch.OK}, time.Second)
	server, err := telemetry.Serve("127.0.0.1:0", metrics, telemetry.Reaches(func(context.Context) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	text := get(t, "http://"+server.Addr()+"/metrics")

	var served []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (weir_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		labels := map[string]bool{}
		for _, sample := range regexp.MustCompile(`(?m)^`+m[1]+`(?:_bucket|_sum|_count)?\{(.*)\} `).FindAllStringSubmatch(text, -1) {
			for _, label := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
				labels[label[1]] = label[1] != "le" // a histogram's own
			}
		}
		maps.DeleteFunc(labels, func(_ string, is bool) bool { return !is })
		served = append(served, fmt.Sprintf("%s %s %v", m[1], m[2], slices.Sorted(maps.Keys(labels))))
	}
	var described []string
	for _, cells := range rows(t, readme(t), "metric", "type", "labels") {
		labels := code(cells[2])
		slices.Sort(labels)
		described = append(described, fmt.Sprintf("%s %s %v", code(cells[0])[0], cells[1], labels))
	}
	if len(served) == 0 {
		t.Fatalf("no metric is served:\n%s", text)
	}
	sameLines(t, "metrics", described, served)
}

func TestReadmesTaskTypesAreThoseThereAre(t *testing.T) {
	t.Parallel()
	var described, real []string
	for _, cells := range rows(t, readme(t), "type", "payload", "result") {
		described = append(described, code(cells[0])...)
	}
	out, err := exec.Command(filepath.Join(binDir, "producer"), "types").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[1:] {
		real = append(real, strings.Fields(line)[0])
	}
	sameLines(t, "task types", described, real)
}

// TestReadmesMapOfTheCodeIsTrue: what it names is there, and every package is named.
func TestReadmesMapOfTheCodeIsTrue(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readme(t), "\n## The code\n")
	section, _, _ = strings.Cut(section, "\n## ")
	mapped := map[string]bool{}
	for _, cells := range rows(t, section, "path") {
		for _, path := range code(cells[0]) {
			mapped[path] = true
		}
	}
	for _, word := range code(section) {
		isPath := mapped[word] || strings.Contains(word, "/") && !strings.ContainsAny(word, "<:")
		if _, err := os.Stat(filepath.Join("..", word)); isPath && err != nil {
			t.Errorf("the map of the code names %s: %v", word, err)
		}
	}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		path = strings.TrimPrefix(filepath.ToSlash(path), "../")
		switch {
		case err != nil:
			return err
		case mapped[path] && path == "integration_test/foreign": // its folders need no names
			return fs.SkipDir
		case entry.IsDir() && len(path) > 2 && strings.HasPrefix(path, "."), path == "bin":
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		if folder := filepath.Dir(path); !mapped[folder] && !(folder == "." && mapped["weir.go"]) {
			t.Errorf("the map of the code lacks %s", folder)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReadmesCommandsExist: scenarios it names have tests, and those of the package
// comment are among them; make has its targets.
func TestReadmesCommandsExist(t *testing.T) {
	t.Parallel()
	text := readme(t)
	sources, _ := filepath.Glob("*_test.go")
	var names []string
	for _, file := range sources {
		for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(t \*testing\.T\)`).FindAllStringSubmatch(content(t, file), -1) {
			names = append(names, m[1])
		}
	}
	shown := map[string]bool{}
	for _, cells := range rows(t, text, "system", "command") {
		_, pattern, ok := strings.Cut(code(cells[1])[0], "go test ./integration_test -v -run ")
		if !ok {
			t.Errorf("%s has no command that runs it", cells[0])
		}
		for _, part := range strings.Split(strings.Trim(pattern, "'"), "|") {
			found := false
			for _, name := range names {
				if strings.Contains(name, part) {
					found, shown[name] = true, true
				}
			}
			if !found {
				t.Errorf("%s: no test is called %s", cells[0], part)
			}
		}
	}
	table, _, _ := strings.Cut(content(t, "doc.go"), "And what else")
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w{5,}`).FindAllString(table, -1) {
		if !shown[name] {
			t.Errorf("no command of README.md runs %s", name)
		}
	}
	makefile := content(t, "../Makefile")
	for _, word := range code(text) {
		target, ok := strings.CutPrefix(word, "make ")
		target, _, _ = strings.Cut(target, " ") // variables may follow
		if ok && !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("make has no target %s", target)
		}
	}
}

// TestReadmesGoIsRight: a block below the name of a file is that file; any other is
// a program of its own and prints what its comments say.
func TestReadmesGoIsRight(t *testing.T) {
	t.Parallel()
	quoted := 0
	for i, block := range blocks(readme(t), "go") {
		words := code(block.above)
		if file := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, ".go") }); file >= 0 {
			quoted++
			if block.text != content(t, filepath.Join("..", words[file])) {
				t.Errorf("the Go below %q is not what is in that file", block.above)
			}
			continue
		}
		printed := runProgram(t, block.text)
		for _, line := range regexp.MustCompile(`(?m)^\t*fmt\.Println.*// (.*)$`).FindAllStringSubmatch(block.text, -1) {
			if !strings.Contains(printed, line[1]+"\n") {
				t.Errorf("README.md's Go block %d does not print %q but:\n%s", i+1, line[1], printed)
			}
		}
	}
	files, _ := filepath.Glob("foreign/*/*.go")
	if quoted != len(files) {
		t.Errorf("README.md quotes %d files, the foreign module has %d", quoted, len(files))
	}
}

// runProgram runs a program in a copy of the foreign module.
func runProgram(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  strings.Replace(content(t, "foreign/go.mod"), "=> ../..", "=> "+root, 1),
		"go.sum":  content(t, "foreign/go.sum"),
		"main.go": program,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", "program", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("a program of README.md does not compile: %v\n%s", err, out)
	}
	return start(t, exec.Command(filepath.Join(dir, "program"))).wait().exits(t, 0).stdout
}
