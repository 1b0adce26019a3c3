package integration_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// goMod is a go.mod, as `go mod edit -json` tells it.
type goMod struct {
	Go               string
	Require          []struct{ Path, Version string }
	Replace, Exclude []any
}

func readGoMod(t *testing.T, dir string) (m goMod) {
	t.Helper()
	out, err := exec.Command("go", "-C", dir, "mod", "edit", "-json").Output()
	must(t, err)
	must(t, json.Unmarshal(out, &m))
	return m
}

// compiledIn are the modules of the two commands, `path version` each, weir left out.
func compiledIn(t *testing.T, goos string) (modules []string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "./producer", "./worker")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && line != "github.com/weir-tasks/weir" {
			modules = append(modules, line)
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

// safeFrom are the lowest versions without the vulnerabilities named. `go` is the version
// that go.mod asks for. Known ones only: `make govulncheck` asks for all.
var safeFrom = []struct{ module, version, advisory string }{
	{"go", "1.26.1", "CVE-2026-25679, net/url; before that CVE-2025-47910, net/http.CrossOriginProtection"},
	{"github.com/buger/jsonparser", "v1.1.1", "CVE-2020-35381"},
	{"github.com/prometheus/client_golang", "v1.11.1", "CVE-2022-21698"},
	{"github.com/redis/go-redis/v9", "v9.7.3", "CVE-2025-29923"},
	{"go.opentelemetry.io/otel/sdk", "v1.40.0", "CVE-2026-24051"},
	{"golang.org/x/crypto", "v0.45.0", "CVE-2025-58181, CVE-2025-47914; before that CVE-2025-22869, CVE-2024-45337"},
	{"golang.org/x/net", "v0.38.0", "CVE-2025-22872; before that CVE-2025-22870, CVE-2024-45338, CVE-2023-45288"},
	{"golang.org/x/text", "v0.3.8", "CVE-2022-32149"},
	{"google.golang.org/grpc", "v1.79.3", "CVE-2026-33186; before that CVE-2023-44487"},
	{"google.golang.org/protobuf", "v1.33.0", "CVE-2024-24786"},
}

// release is the three numbers of a tagged version. Of one before a release, or of a commit
// without a tag, there is no telling what it has.
var release = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)$`)

// older tells whether a version comes before another; what is no release does.
func older(v, than string) bool {
	a, b := release.FindStringSubmatch(v), release.FindStringSubmatch(than)
	if a == nil || b == nil {
		return true
	}
	numbers := func(m []string) (n [3]int) {
		for i := range n {
			n[i], _ = strconv.Atoi(m[i+1])
		}
		return n
	}
	x, y := numbers(a), numbers(b)
	return slices.Compare(x[:], y[:]) < 0
}

func TestNoModuleIsOlderThanItsFixes(t *testing.T) {
	t.Parallel()
	m := readGoMod(t, "..")
	versions := map[string]string{"go": m.Go}
	for _, r := range m.Require {
		versions[r.Path] = r.Version
	}
	for _, safe := range safeFrom {
		if v, is := versions[safe.module]; !is {
			t.Errorf("%s is not used any more: take it out of this table", safe.module)
		} else if older(v, safe.version) {
			t.Errorf("%s %s has %s, %s has not", safe.module, v, safe.advisory, safe.version)
		}
	}
	for _, c := range []struct {
		v, than string
		want    bool
	}{
		{"v1.9.0", "v1.10.0", true}, {"v1.10.0", "v1.9.9", false}, {"v1.2.3", "v1.2.3", false}, {"v2.0.0", "v1.99.99", false},
		{"v1.3.0-rc.1", "v1.2.0", true}, {"v0.0.0-20260101000000-abcdefabcdef", "v0.0.0", true}, {"1.26.0", "1.26.1", true},
	} {
		if got := older(c.v, c.than); got != c.want {
			t.Errorf("older(%s, %s) = %v", c.v, c.than, got)
		}
	}
}

// untagged are the direct dependencies without a release to depend on.
var untagged = []string{
	"github.com/chromedp/cdproto",        // has no tags; in tests alone
	"github.com/go-json-experiment/json", // has none; what Go's encoding/json/v2 comes from
	"go.yaml.in/yaml/v4",                 // has none yet that is not a candidate
}

// What is direct is a release, the others are what these ask for; each is in go.sum; nothing is
// replaced. asynq is the one whose insides the gate relies on. Tools are of one version too.
func TestModulesAreOfExactVersions(t *testing.T) {
	t.Parallel()
	m := readGoMod(t, "..")
	if len(m.Replace)+len(m.Exclude) > 0 {
		t.Errorf("go.mod replaces %v, excludes %v", m.Replace, m.Exclude)
	}
	sums, modules := content(t, "../go.sum"), content(t, "../go.mod")
	for _, r := range m.Require {
		direct := !strings.Contains(modules, r.Path+" "+r.Version+" // indirect")
		if direct && !release.MatchString(r.Version) && !slices.Contains(untagged, r.Path) {
			t.Errorf("%s %s is no release", r.Path, r.Version)
		}
		if !strings.Contains(sums, r.Path+" "+r.Version+" h1:") || !strings.Contains(sums, r.Path+" "+r.Version+"/go.mod h1:") {
			t.Errorf("%s %s is not in go.sum", r.Path, r.Version)
		}
		if r.Path == "github.com/hibiken/asynq" && r.Version != "v0.26.0" {
			t.Errorf("asynq is %s: the gate was made for v0.26.0", r.Version)
		}
	}
	for _, tool := range regexp.MustCompile(`(?m)\$\(GO\) (?:run|install) (\S+\.\S+/\S+)`).FindAllStringSubmatch(content(t, "../Makefile"), -1) {
		if _, v, _ := strings.Cut(tool[1], "@"); !release.MatchString(v) {
			t.Errorf("Makefile: %s is of no certain version", tool[1])
		}
	}
	for _, action := range regexp.MustCompile(`uses: (\S+)`).FindAllStringSubmatch(content(t, "../.github/workflows/ci.yml"), -1) {
		if !regexp.MustCompile(`@[0-9a-f]{40}$`).MatchString(action[1]) {
			t.Errorf("CI uses %s, which can be moved", action[1])
		}
	}
}

// fine are licences under which a binary may be given on with no more than their texts.
var fine = []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "BSL-1.0", "ISC", "Unlicense"}

func TestEveryModuleHasALicenceThatIsFine(t *testing.T) {
	t.Parallel()
	list := rows(t, content(t, "../deploy/sbom/licences.md"), "package", "version", "licence")
	linux, darwin := compiledIn(t, "linux"), compiledIn(t, "darwin")
	seen := make(map[string]bool)
	for _, cells := range list {
		pkg := code(cells[0])[0]
		if !slices.Contains(fine, cells[2]) {
			t.Errorf("%s has the licence %s", pkg, cells[2])
		}
		of := ""
		for _, m := range linux {
			path, v, _ := strings.Cut(m, " ")
			if v == cells[1] && strings.HasPrefix(pkg+"/", path+"/") && len(m) > len(of) {
				of = m
			}
		}
		if seen[of] = true; of == "" {
			t.Errorf("%s %s is in neither command: make licences", pkg, cells[1])
		}
	}
	for _, m := range slices.Concat(linux, darwin) {
		if !seen[m] {
			t.Errorf("deploy/sbom/licences.md lacks %s: make licences", m)
		}
	}
	t.Logf("%d licences of %d modules", len(list), len(linux))
}

// The bill of materials has both binaries, with their hashes, and all that is in them.
func TestTheBillOfMaterialsIsComplete(t *testing.T) {
	t.Parallel()
	producer, worker := filepath.Join(binDir, "producer"), filepath.Join(binDir, "worker")
	out, err := exec.Command("go", "run", "../deploy/sbom", producer, worker).Output()
	must(t, err)
	bom := new(cdx.BOM)
	must(t, cdx.NewBOMDecoder(strings.NewReader(string(out)), cdx.BOMFileFormatJSON).Decode(bom))
	var told []string
	for _, c := range *bom.Components {
		switch c.Type {
		case cdx.ComponentTypeLibrary:
			if c.Licenses == nil || (c.Name != "std" && (c.Hashes == nil || len((*c.Hashes)[0].Value) != 64)) {
				t.Errorf("of %s it lacks licence or checksum", c.Name)
			}
			told = append(told, c.Name+" "+c.Version)
		case cdx.ComponentTypeApplication:
			hash := fmt.Sprintf("%x", sha256.Sum256([]byte(content(t, filepath.Join(binDir, c.Name)))))
			if (*c.Hashes)[0].Value != hash {
				t.Errorf("the hash of %s is not that of the file", c.Name)
			}
		}
	}
	sameLines(t, "bill of materials", told, append(compiledIn(t, runtime.GOOS), "std "+strings.TrimPrefix(runtime.Version(), "go")))
	if n := len(*bom.Dependencies); n != 2 || bom.SpecVersion != cdx.SpecVersion1_6 {
		t.Errorf("it says of %d binaries what they need, in version %v", n, bom.SpecVersion)
	}
}

// `make build` in two folders makes the same two files, byte for byte. What the commit adds
// to them is left out, as it is in the image: neither folder is a repository.
func TestABuildCanBeRepeated(t *testing.T) {
	var sums [2]string
	for i := range sums {
		dir := filepath.Join(t.TempDir(), strings.Repeat("deeper/", i+1))
		must(t, os.MkdirAll(dir, 0o700))
		for _, file := range []string{"go.mod", "go.sum", "Makefile", "weir.go"} {
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(content(t, filepath.Join("..", file))), 0o600))
		}
		for _, folder := range []string{"internal", "producer", "tasks", "worker"} {
			must(t, os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("..", folder))))
		}
		cmd := exec.Command(tool(t, "make"), "build")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "MAKEFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make build: %v\n%s", err, out)
		}
		for _, name := range []string{"producer", "worker"} {
			binary := content(t, filepath.Join(dir, "bin", name))
			if strings.Contains(binary, dir) {
				t.Errorf("%s names the folder that it was built in", name)
			}
			sums[i] += fmt.Sprintf("%s %x\n", name, sha256.Sum256([]byte(binary)))
		}
	}
	if t.Logf("%s", sums[0]); sums[0] != sums[1] {
		t.Errorf("built elsewhere:\n%s", sums[1])
	}
}
