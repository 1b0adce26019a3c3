package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// object is one of Kubernetes', as far as its kind has these fields.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector       map[string]any
		PodSelector    struct{ MatchLabels map[string]string }
		ScaleTargetRef struct{ Name string }
		Triggers       []struct{ Metadata struct{ URL string } }
		Ports          []struct {
			Port       int
			TargetPort string
		}
		Ingress  []struct{ Ports []struct{ Port int } }
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				TerminationGracePeriodSeconds int
				SecurityContext               struct {
					RunAsNonRoot bool
					RunAsUser    int
				}
				Containers []container
			}
		}
	}
}

type container struct {
	Name          string
	Command, Args []string
	Ports         []struct {
		Name          string
		ContainerPort int
	}
	LivenessProbe, ReadinessProbe struct{ HTTPGet struct{ Path, Port string } }
	Resources                     struct{ Limits map[string]string }
	SecurityContext               struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
}

// manifests are the objects of deploy/k8s, by kind and name.
func manifests(t *testing.T) map[string]*object {
	t.Helper()
	files, err := filepath.Glob("../deploy/k8s/*.yaml")
	must(t, err)
	all := make(map[string]*object)
	for _, file := range files {
		decoder := yaml.NewDecoder(strings.NewReader(content(t, file)))
		for {
			var raw any
			if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			text, err := json.Marshal(raw) // as kubectl sends it
			must(t, err)
			var o object
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[o.Kind+" "+o.Metadata.Name] = &o
		}
	}
	return all
}

// flag is the value of a flag in arguments, --name=value.
func (c *container) flag(name string) string {
	for _, arg := range c.Args {
		if value, is := strings.CutPrefix(arg, "--"+name+"="); is {
			return value
		}
	}
	return ""
}

// The manifests are of this weir: flags are the commands' own, ports and names fit each
// other, pods have no rights, and a worker has the time it takes to end.
func TestKubernetesManifestsFitTheCommands(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	for _, name := range []string{"Deployment weir-worker", "Service weir-worker", "PodDisruptionBudget weir-worker",
		"ScaledObject weir-worker", "Deployment weir-ui", "NetworkPolicy weir"} {
		if all[name] == nil {
			t.Fatalf("there is no %s", name)
		}
	}
	policy := all["NetworkPolicy weir"].Spec
	for name, o := range all {
		if o.Kind != "Deployment" {
			continue
		}
		pod := o.Spec.Template.Spec
		if !isSubset(policy.PodSelector.MatchLabels, o.Spec.Template.Metadata.Labels) || !selects(o, o) {
			t.Errorf("%s: its pods are not those of its selector, or of the NetworkPolicy", name)
		}
		if !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.RunAsUser != 65532 {
			t.Errorf("%s runs as %+v", name, pod.SecurityContext)
		}
		for i := range pod.Containers {
			fits(t, name, &pod.Containers[i], policy.Ingress[0].Ports[0].Port)
		}
	}

	worker, service := all["Deployment weir-worker"], all["Service weir-worker"]
	if !selects(service, worker) || !selects(all["PodDisruptionBudget weir-worker"], worker) {
		t.Error("Service or PodDisruptionBudget select other pods")
	}
	c := &worker.Spec.Template.Spec.Containers[0]
	if service.Spec.Ports[0].TargetPort != c.Ports[0].Name {
		t.Errorf("the Service's port leads to %q", service.Spec.Ports[0].TargetPort)
	}
	scaled := all["ScaledObject weir-worker"].Spec
	if url := scaled.Triggers[0].Metadata.URL; scaled.ScaleTargetRef.Name != worker.Metadata.Name ||
		!strings.HasPrefix(url, fmt.Sprintf("http://%s.", service.Metadata.Name)) || !strings.Contains(url, fmt.Sprintf(":%d/", service.Spec.Ports[0].Port)) {
		t.Errorf("KEDA scales %s by %s", scaled.ScaleTargetRef.Name, url)
	}
	drain, err := time.ParseDuration(c.flag("shutdown-timeout"))
	grace := time.Duration(worker.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	if err != nil || grace < drain+10*time.Second {
		t.Errorf("a pod has %v to end, the worker takes %v, %v", grace, drain, err)
	}
}

// fits checks a container against the command it runs.
func fits(t *testing.T, name string, c *container, allowed int) {
	t.Helper()
	command := append([]string{filepath.Join(binDir, filepath.Base(c.Command[0]))}, c.Command[1:]...)
	help, err := exec.Command(command[0], append(command[1:], "--help")...).Output()
	if err != nil {
		t.Fatalf("%s: %v --help: %v", name, command, err)
	}
	for _, arg := range c.Args {
		if flag, _, _ := strings.Cut(arg, "="); !strings.Contains(string(help), " "+flag) {
			t.Errorf("%s: %v has no flag %s", name, c.Command, flag)
		}
	}
	port := c.Ports[0]
	if c.flag("http") != fmt.Sprintf(":%d", port.ContainerPort) || port.ContainerPort != allowed {
		t.Errorf("%s: it serves at %q, the container's port is %d, %d is allowed", name, c.flag("http"), port.ContainerPort, allowed)
	}
	live, ready := c.LivenessProbe.HTTPGet, c.ReadinessProbe.HTTPGet
	if live.Path != "/healthz" || ready.Path != "/readyz" || live.Port != port.Name || ready.Port != port.Name {
		t.Errorf("%s: probes are %+v and %+v", name, live, ready)
	}
	security := c.SecurityContext
	if security.AllowPrivilegeEscalation == nil || *security.AllowPrivilegeEscalation || !security.ReadOnlyRootFilesystem ||
		!slices.Equal(security.Capabilities.Drop, []string{"ALL"}) || c.Resources.Limits["memory"] == "" {
		t.Errorf("%s: %+v, limits %v", name, security, c.Resources.Limits)
	}
}

// selects says whether one object's selector is for the other's pods.
func selects(by, pods *object) bool {
	labels := by.Spec.Selector
	if match, ok := labels["matchLabels"].(map[string]any); ok {
		labels = match
	}
	want := make(map[string]string)
	for k, v := range labels {
		want[k] = fmt.Sprint(v)
	}
	return isSubset(want, pods.Spec.Template.Metadata.Labels)
}

func isSubset(some, all map[string]string) bool {
	for _, k := range slices.Sorted(maps.Keys(some)) {
		if v, has := all[k]; !has || v != some[k] {
			return false
		}
	}
	return len(some) > 0
}
