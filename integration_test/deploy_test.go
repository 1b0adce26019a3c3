package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// tool is a program that a test needs; `make deps` installs it.
func tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not in PATH: make deps", names[0])
	return ""
}

// passes runs a program that must be content.
func passes(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool(t, name), args...).CombinedOutput(); err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
}

// rule is an alert of deploy/prometheus/weir.rules.yml.
type rule struct {
	Alert, Expr string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	must(t, yaml.Unmarshal([]byte(content(t, "../deploy/prometheus/weir.rules.yml")), &file))
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// unknownMetrics are the names in an expression that no process serves: those of README.md
// are compared with the registry by another test.
func unknownMetrics(t *testing.T, expr string) (unknown []string) {
	t.Helper()
	var known []string
	for _, cells := range rows(t, readme(t), "metric", "type", "labels") {
		name := code(cells[0])[0]
		if known = append(known, name); cells[1] == "histogram" {
			known = append(known, name+"_bucket", name+"_sum", name+"_count")
		}
	}
	for _, name := range regexp.MustCompile(`\b(?:weir|go|process)_\w+`).FindAllString(expr, -1) {
		if !slices.Contains(known, name) && !slices.Contains([]string{"process_resident_memory_bytes", "process_cpu_seconds_total"}, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// Alerts are rules that Prometheus takes, which fire and do not as their own tests say,
// on metrics that there are; each says what helps, and has its line in README.md.
func TestAlertsAreRulesThatFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	const dir = "../deploy/prometheus/"
	passes(t, "promtool", "check", "rules", dir+"weir.rules.yml")
	passes(t, "promtool", "test", "rules", dir+"weir.rules_test.yml")
	passes(t, "promtool", "check", "config", dir+"prometheus.yml")
	passes(t, "amtool", "check-config", "../deploy/alertmanager/alertmanager.yml")
	tests := content(t, dir+"weir.rules_test.yml")
	var names, described []string
	for _, r := range rules(t) {
		names = append(names, r.Alert)
		if r.Annotations["summary"] == "" || len(r.Annotations["remedy"]) < 30 || r.Labels["severity"] == "" {
			t.Errorf("%s does not say what is wrong, how bad that is, and what helps", r.Alert)
		}
		if unknown := unknownMetrics(t, r.Expr); len(unknown) > 0 {
			t.Errorf("%s asks for %v, which nobody serves", r.Alert, unknown)
		}
		if strings.Count(tests, r.Alert) < 2 {
			t.Errorf("no test has %s firing and not", r.Alert)
		}
	}
	for _, cells := range rows(t, readme(t), "alert", "fires when") {
		described = append(described, code(cells[0])...)
	}
	sameLines(t, "alerts", described, names)
}

// panel is one query of the dashboard, with something for each of its variables.
type panel struct{ Title, Expr string }

// dashboard is every query of Grafana's dashboard, each of the source that is provisioned.
func dashboard(t *testing.T) (all []panel) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title, Type string
			Datasource  struct{ UID string }
			Targets     []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal([]byte(content(t, "../deploy/grafana/dashboards/weir.json")), &board))
	var source struct{ Datasources []struct{ UID, URL string } }
	must(t, yaml.Unmarshal([]byte(content(t, "../deploy/grafana/provisioning/datasources/prometheus.yml")), &source))
	variables := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$lane", ".*")
	for _, p := range board.Panels {
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != source.Datasources[0].UID) {
			t.Errorf("panel %q shows nothing, or of a source that is not provisioned", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, panel{p.Title, variables.Replace(target.Expr)})
		}
	}
	if len(all) < 20 {
		t.Errorf("there are only %d expressions", len(all))
	}
	return all
}

// Every expression of the dashboard is one that Prometheus takes, on metrics that there are.
func TestTheDashboardShowsMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	type recording struct{ Record, Expr string }
	var all []recording
	for i, p := range dashboard(t) {
		if unknown := unknownMetrics(t, p.Expr); len(unknown) > 0 || strings.Contains(p.Expr, "$") {
			t.Errorf("panel %q asks for %v, which nobody serves: %s", p.Title, unknown, p.Expr)
		}
		all = append(all, recording{fmt.Sprintf("panel:%d", i), p.Expr})
	}
	groups := map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": all}}}
	text, err := yaml.Marshal(groups)
	must(t, err)
	file := filepath.Join(t.TempDir(), "panels.yml")
	must(t, os.WriteFile(file, text, 0o600))
	passes(t, "promtool", "check", "rules", file)
}

// What docker-compose.yml publishes is on loopback alone, all images have a version, and the
// profile's files are there.
func TestComposePublishesOnLoopbackAlone(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Image    string
			Profiles []string
			Ports    []string
			Volumes  []string
		}
		Volumes map[string]any
	}
	must(t, yaml.Unmarshal([]byte(content(t, "../docker-compose.yml")), &file))
	watching := 0
	for name, s := range file.Services {
		if !regexp.MustCompile(`:(?:v?\d+\.\d+[\w.-]*|local)$`).MatchString(s.Image) {
			t.Errorf("%s runs %q, of no certain version", name, s.Image)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if _, named := file.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", from)); err != nil || !strings.HasSuffix(volume, ":ro") {
				t.Errorf("%s mounts %s: %v", name, volume, err)
			}
		}
		if slices.Contains(s.Profiles, "observability") {
			watching++
		}
	}
	if watching != 3 {
		t.Errorf("%d services watch, want Prometheus, Alertmanager, Grafana", watching)
	}
	conf := content(t, "../deploy/prometheus/prometheus.yml")
	for name := range map[string]bool{"worker": true, "ui": true, "alertmanager": true} {
		if _, is := file.Services[name]; !is || !strings.Contains(conf, name) {
			t.Errorf("Prometheus does not know %s, or compose", name)
		}
	}
	tried := 0
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.Command(command[0], append(slices.Clone(command[1:]), "version")...).Run() != nil {
			continue
		}
		tried++
		args := append(slices.Clone(command[1:]), "--file", "../docker-compose.yml", "--profile", "observability", "config", "--quiet")
		if out, err := exec.Command(command[0], args...).CombinedOutput(); err != nil {
			t.Errorf("%v %v: %v\n%s", command[0], args, err, out)
		}
	}
	t.Logf("%d of docker compose and docker-compose are here, and take the file", tried)
}

// Prometheus and Alertmanager start with the commands and files of docker-compose.yml, and
// load every rule. Grafana is not among Debian's packages: its files are only read here.
func TestComposesPrometheusStarts(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct{ Command []string }
	}
	must(t, yaml.Unmarshal([]byte(content(t, "../docker-compose.yml")), &file))
	for name, c := range map[string]struct{ bin, conf, data string }{
		"prometheus":   {tool(t, "prometheus"), "prometheus", "/prometheus"},
		"alertmanager": {tool(t, "prometheus-alertmanager", "alertmanager"), "alertmanager", "/alertmanager"},
	} {
		var args []string
		for _, arg := range file.Services[name].Command {
			flag, value, _ := strings.Cut(arg, "=")
			if value == c.data {
				value = t.TempDir()
			}
			args = append(args, flag+"="+strings.Replace(value, "/etc/"+c.conf+"/", "../deploy/"+c.conf+"/", 1))
		}
		addr := fmt.Sprintf("127.0.0.1:%d", conntest.FreePort(t))
		start(t, exec.Command(c.bin, append(args, "--web.listen-address="+addr)...))
		eventually(t, 20*time.Second, func() bool { return statusOf("http://"+addr+"/-/ready") == 200 }, name+" is ready")
		if name == "prometheus" {
			var answer struct {
				Data struct{ Groups []struct{ Rules []any } }
			}
			must(t, ask("http://"+addr+"/api/v1/rules", &answer))
			if len(answer.Data.Groups) != 1 || len(answer.Data.Groups[0].Rules) != len(rules(t)) {
				t.Errorf("it has loaded %+v", answer.Data.Groups)
			}
		}
	}
}
