package integration_test

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// service is one of docker-compose.yml's, as far as it says what its container may do.
type service struct {
	User        string
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	Security    []string          `yaml:"security_opt"`
	Memory      string            `yaml:"mem_limit"`
	Pids        int               `yaml:"pids_limit"`
	Environment map[string]string `yaml:"environment"`
	Privileged  bool
	Devices     []string
	Network     string `yaml:"network_mode"`
	Pid         string
}

// secretName is what a variable with a secret in it may be called.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|key|credential|auth$`)

// No container of docker-compose.yml may do more than it has to, use up the host, or has a
// secret in its environment, where `docker inspect` shows it. Redis and the one that makes
// its password begin as root, to give files to another user.
func TestContainersHaveNoRightsTheyCanDoWithout(t *testing.T) {
	t.Parallel()
	var file struct{ Services map[string]service }
	must(t, yaml.Unmarshal([]byte(content(t, "../docker-compose.yml")), &file))
	root := []string{"redis", "secrets"}
	ours := []string{"worker", "ui", "producer"}
	for _, name := range slices.Concat(root, ours) {
		if _, is := file.Services[name]; !is {
			t.Errorf("there is no %s", name)
		}
	}
	for name, s := range file.Services {
		if !s.ReadOnly || !slices.Contains(s.Security, "no-new-privileges:true") || s.Pids < 1 || s.Pids > 256 {
			t.Errorf("%s: read_only %v, security_opt %v, pids_limit %d", name, s.ReadOnly, s.Security, s.Pids)
		}
		if s.Privileged || len(s.CapAdd)+len(s.Devices) > 0 || s.Pid != "" || s.Network == "host" {
			t.Errorf("%s has the host's rights: %+v", name, s)
		}
		if !slices.Contains(root, name) && !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s keeps capabilities: cap_drop %v", name, s.CapDrop)
		}
		if slices.Contains(ours, name) && s.User != "65532:65532" {
			t.Errorf("%s runs as %q", name, s.User)
		}
		if name != "redis" && s.Memory == "" { // its own --maxmemory bounds Redis
			t.Errorf("%s has all memory", name)
		}
		for _, key := range slices.Sorted(maps.Keys(s.Environment)) {
			value := s.Environment[key]
			if _, rest, _ := strings.Cut(value, "://"); strings.Contains(rest, "@") || secretName.MatchString(key) {
				t.Errorf("%s has a secret in its environment: %s", name, key)
			}
		}
	}
	if !strings.Contains(content(t, "../docker-compose.yml"), "\n      - --maxmemory\n") {
		t.Error("Redis has all memory")
	}
}

// Redis of docker-compose.yml is reached by its other containers alone, with a password that is
// made at the first start and lies in a file; and is of a line that has the fix of what is known
// of Redis' Lua (CVE-2025-49844), where it names a release one that has it.
func TestComposesRedisIsClosed(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Ports       []string
			Environment map[string]string
		}
	}
	must(t, yaml.Unmarshal([]byte(content(t, "../docker-compose.yml")), &file))
	redis, secrets := file.Services["redis"], file.Services["secrets"]
	if len(redis.Ports)+len(secrets.Ports) > 0 {
		t.Errorf("Redis publishes %v", redis.Ports)
	}
	if len(redis.Command) < 2 || redis.Command[1] != "/run/weir/redis.conf" || len(secrets.Command) != 1 ||
		!strings.Contains(secrets.Command[0], "/dev/urandom") || !strings.Contains(secrets.Command[0], `'requirepass %s\n' "$$(cat password)" >redis.conf.new`) {
		t.Errorf("Redis has no password of its own: %v, %v", redis.Command, secrets.Command)
	}
	for _, name := range []string{"worker", "ui", "producer"} {
		if url := file.Services[name].Environment["WEIR_REDIS"]; !strings.HasSuffix(url, "?password_file=/run/weir/password") {
			t.Errorf("%s has Redis at %q", name, url)
		}
	}
	fixed := map[string]int{"6.2": 20, "7.2": 11, "7.4": 6, "8.0": 4, "8.2": 2}
	for _, image := range []string{redis.Image, secrets.Image} {
		m := regexp.MustCompile(`^redis:(\d+\.\d+)(?:\.(\d+))?-alpine$`).FindStringSubmatch(image)
		if m == nil || fixed[m[1]] == 0 {
			t.Errorf("%q is of no line that has the fix", image)
			continue
		}
		if patch, err := strconv.Atoi(m[2]); m[2] != "" && (err != nil || patch < fixed[m[1]]) {
			t.Errorf("%q is older than the fix", image)
		}
	}
}

// The image is two static binaries and certificates, runs as nobody, and has neither
// variables nor arguments of the build, which stay in its history. What a clone may hold of
// secrets does not get to the engine.
func TestTheImageHasTwoBinariesAndNoSecrets(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile(`(?m)^([A-Z]+) (.+)$`).FindAllStringSubmatch(content(t, "../Dockerfile"), -1)
	var last []string // of the stage that is the image
	for _, l := range lines {
		if l[1] == "FROM" {
			last = nil
		}
		last = append(last, l[1]+" "+l[2])
		if slices.Contains([]string{"ENV", "ARG", "ADD", "VOLUME", "SHELL", "ONBUILD"}, l[1]) {
			t.Errorf("Dockerfile: %s", l[0])
		}
		if l[1] == "RUN" && strings.Contains(l[2], "go build") &&
			(!strings.Contains(l[2], "CGO_ENABLED=0 ") || !strings.Contains(l[2], " -trimpath ") || !strings.Contains(l[2], " -buildvcs=false ")) {
			t.Errorf("the image's binaries are not static, or not the same each time: %s", l[2])
		}
	}
	want := []string{
		"FROM scratch",
		"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
		"COPY --from=build /out/ /usr/local/bin/",
		"USER 65532:65532",
		`CMD ["/usr/local/bin/worker"]`,
	}
	if !slices.Equal(last, want) {
		t.Errorf("the image is %q, want %q", last, want)
	}
	ignored := strings.Split(content(t, "../.dockerignore"), "\n")
	for _, pattern := range []string{".git", "**/.env*", "**/*.pem", "**/*.key"} {
		if !slices.Contains(ignored, pattern) {
			t.Errorf(".dockerignore lacks %s", pattern)
		}
	}
}
