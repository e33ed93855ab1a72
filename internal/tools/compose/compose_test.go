// Package compose checks docker-compose.yml against the Compose specification (https://compose-spec.io) and what this project asks of it.
package compose

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

const file = "../../../docker-compose.yml"

// given are values for all that the file asks of its user, each recognisable where it lands.
func given() map[string]string {
	return map[string]string{
		"TRIBUTARY_PUBLIC_URL": "https://given-url.example",
		"TRIBUTARY_KEY":        "given-key",
		"CATALOG_PASSWORD":     "given-catalog-password",
		"TEMPORAL_DB_PASSWORD": "given-temporal-password",
		"SEGMENTS_ACCESS_KEY":  "given-access-key",
		"SEGMENTS_SECRET_KEY":  "given-secret-key",
	}
}

func load(t *testing.T, environment map[string]string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(pairs(environment)))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

func pairs(environment map[string]string) []string {
	var out []string
	for k, v := range environment {
		out = append(out, k+"="+v)
	}
	return out
}

// The file follows the specification, and has all parts of the design.
func TestSpecification(t *testing.T) {
	t.Parallel()
	p := project(t)
	want := []string{"catalog", "receiver", "segments", "temporal", "temporal-db", "temporal-namespace", "temporal-schema", "temporal-ui", "worker"}
	if got := p.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	for name, role := range map[string]string{"worker": "worker", "receiver": "receiver"} {
		if got := strings.Join(p.Services[name].Command, " "); got != "--role "+role {
			t.Errorf("%s runs %q, want --role %s", name, got, role)
		}
		if p.Services[name].Build == nil {
			t.Errorf("%s is not built from the Dockerfile", name)
		}
	}
	for name, s := range p.Services {
		if s.Image != "tributary" && !regexp.MustCompile(`:v?\d`).MatchString(s.Image) {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
	}
}

// Whoever waits for a service can: what runs on tells whether it is healthy, and what runs once is waited for until it has succeeded.
func TestHealth(t *testing.T) {
	t.Parallel()
	p := project(t)
	once := map[string]bool{}
	for _, s := range p.Services {
		for name, d := range s.DependsOn {
			once[name] = once[name] || d.Condition == types.ServiceConditionCompletedSuccessfully
		}
	}
	for name, s := range p.Services {
		for other, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionStarted {
				t.Errorf("%s doesn't wait until %s is healthy", name, other)
			}
		}
		if once[name] {
			if s.Restart == types.RestartPolicyUnlessStopped || s.Restart == types.RestartPolicyAlways {
				t.Errorf("%s runs once, but restarts %s", name, s.Restart)
			}
			continue
		}
		if s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 {
			t.Errorf("%s has no health check", name)
		}
	}
}

// No secret is in the file: each comes from the environment, and its absence is an error that names it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for name := range given() {
		environment := given()
		delete(environment, name)
		p, err := load(t, environment)
		if name == "TRIBUTARY_KEY" { // that one never is in a container's environment
			if err == nil && p.Secrets["key"].Environment != name {
				t.Errorf("secret key is %+v, want it from $%s", p.Secrets["key"], name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: error %v, want one that names it", name, err)
		}
	}

	secret := regexp.MustCompile(`(?i)pass|pwd|secret|token|key`)
	file := regexp.MustCompile(`^/run/secrets/`)
	p := project(t)
	for name, s := range p.Services {
		for k, v := range s.Environment {
			if secret.MatchString(k) && v != nil && !strings.HasPrefix(*v, "given-") && !file.MatchString(*v) {
				t.Errorf("%s: %s is in the file", name, k)
			}
			if v != nil && strings.Contains(*v, given()["TRIBUTARY_KEY"]) {
				t.Errorf("%s: %s holds the key that encrypts connections", name, k)
			}
			if v != nil && regexp.MustCompile(`://[^/@]*:[^/@]+@`).MatchString(*v) && !strings.Contains(*v, ":given-") {
				t.Errorf("%s: %s has a password in its URL", name, k)
			}
		}
	}
	for name, s := range p.Secrets {
		if s.Environment == "" || !strings.HasPrefix(s.Content, "given-") {
			t.Errorf("secret %s is in the file", name)
		}
	}
	for _, name := range []string{"worker", "receiver"} {
		s := p.Services[name]
		if len(s.Secrets) != 1 || s.Environment["TRIBUTARY_KEY_FILE"] == nil || s.Secrets[0].Target != *s.Environment["TRIBUTARY_KEY_FILE"] {
			t.Errorf("%s: TRIBUTARY_KEY_FILE is not the secret that it gets", name)
		} else if m := s.Secrets[0].Mode; m == nil || *m != 0o400 || s.Secrets[0].UID != "65532" {
			t.Errorf("%s: the key file is not the image's user's alone", name)
		}
	}
}

// What is asked for is what the example explains.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
		if m[2] != "" {
			t.Errorf("%s has a value", m[1])
		}
	}
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(given())); !slices.Equal(got, want) {
		t.Errorf(".env.example has %v, want %v", got, want)
	}
}

// A journal is one receiver's alone, and no data is in a container that `down` removes.
func TestVolumes(t *testing.T) {
	t.Parallel()
	p := project(t)
	owner := map[string]string{}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeVolume || v.Source == "" {
				t.Errorf("%s: %s is no named volume", name, v.Target)
			}
			if other, taken := owner[v.Source]; taken {
				t.Errorf("%s and %s share the volume %s", name, other, v.Source)
			}
			owner[v.Source] = name
		}
	}
	journal := p.Services["receiver"].Environment["TRIBUTARY_JOURNAL"]
	if journal == nil || !slices.ContainsFunc(p.Services["receiver"].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == *journal }) {
		t.Errorf("the receiver's journal is not on a volume of its own: %v", p.Services["receiver"].Volumes)
	}
	for _, name := range []string{"catalog", "segments", "temporal-db"} {
		if len(p.Services[name].Volumes) == 0 {
			t.Errorf("%s keeps its data in the container", name)
		}
	}
}

// The server reads a dynamic configuration that turns fairness on, and what has no password is for this machine alone.
func TestTemporal(t *testing.T) {
	t.Parallel()
	p := project(t)
	s := p.Services["temporal"]
	path := s.Environment["DYNAMIC_CONFIG_FILE_PATH"]
	if path == nil || len(s.Configs) != 1 || s.Configs[0].Target != *path {
		t.Fatalf("temporal's DYNAMIC_CONFIG_FILE_PATH is not the file it gets: %v", s.Configs)
	}
	var settings map[string][]struct{ Value any }
	if err := yaml.Unmarshal([]byte(p.Configs[s.Configs[0].Source].Content), &settings); err != nil {
		t.Fatal(err)
	}
	if v := settings["matching.enableFairness"]; len(v) != 1 || v[0].Value != true {
		t.Errorf("matching.enableFairness is %v, want true", v)
	}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if name == "receiver" && port.Target == 8080 {
				continue
			}
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %d is open to the network", name, port.Target)
			}
		}
	}
}

// The image runs as nobody in particular, carries the C++ runtime, and is built from what .dockerignore lets through.
func TestImage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nUSER 65532:65532\n", "libstdc++6", "\nHEALTHCHECK ", " AS build\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("Dockerfile without %q", strings.TrimSpace(want))
		}
	}
	if secret := regexp.MustCompile(`(?im)^\s*(ARG|ENV)\s.*(pass|secret|token|key)`).FindString(string(text)); secret != "" {
		t.Errorf("Dockerfile puts a secret into the image: %s", secret)
	}
	ignored, err := os.ReadFile("../../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Split(string(ignored), "\n"), "*") {
		t.Error(".dockerignore lets through what it doesn't name")
	}
}

func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t, given())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
