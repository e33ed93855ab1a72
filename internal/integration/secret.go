package integration

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tributary/connectors"
)

// secretValue knows secrets by their form: PEM private keys, the prefixes that vendors give to theirs so that they are
// found when they leak, JSON Web Tokens, and a password in a URL.
var secretValue = regexp.MustCompile(strings.Join([]string{
	`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`,
	`\bwhs(ec|k)_[A-Za-z0-9+/=_-]{6,}`,
	`\bshp(at|ca|pa|ss|ua)_[A-Za-z0-9]{6,}`,
	`\b[rs]k_(live|test)_[A-Za-z0-9]{6,}`,
	`\b(AKIA|ASIA)[0-9A-Z]{16}\b`,
	`\bgh[opsru]_[A-Za-z0-9]{6,}`,
	`\bgithub_pat_[A-Za-z0-9_]{6,}`,
	`\bglpat-[A-Za-z0-9_-]{6,}`,
	`\bxox[abeoprs]-[A-Za-z0-9-]{6,}`,
	`\bAIza[A-Za-z0-9_-]{30,}`,
	`\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*`,
	`[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"']*:[^\s/@"']+@`,
}, "|"))

// secretKey knows a secret by what it is called, without case, dashes and underscores.
var secretKey = regexp.MustCompile(`passw(or)?d|passphrase|secret|(api|private|access|signing|encryption|account)key|credential|authorization|cookie|bearer|token$`)

func looksSecret(key string) bool {
	return secretKey.MatchString(strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(key)))
}

// redact takes secrets out of what is shown to people (I7).
func redact(s string) string { return secretValue.ReplaceAllString(s, "[secret]") }

const howToStore = "integration files are kept in the open; remove it here and store it with `starter connection set"

// refuseSecretText finds secrets anywhere in a file, comments included.
func (f *findings) refuseSecretText(src []byte) {
	line := 0
	for text := range strings.Lines(string(src)) {
		line++
		for _, m := range secretValue.FindAllStringIndex(text, -1) {
			column := len([]rune(text[:m[0]])) + 1
			f.problems = append(f.problems, f.doc.problem(position{line, column}, nil, "this looks like a secret; "+howToStore+"`"))
		}
	}
}

// refuseSecrets finds the values of the document that are secrets by their key, by their form, or because the
// connector says so. Where in a file its text was searched, the form of values is not looked at again.
func (r *rules) refuseSecrets(f *findings, reg *connectors.Registry, forms bool) {
	w := secretWalk{rules: r, findings: f, forms: forms}
	root := object(f.doc.root)
	for _, name := range slices.Sorted(maps.Keys(root)) {
		switch at := []string{name}; name {
		case "source":
			w.block(root[name], at, reg)
		case "destinations":
			list, _ := root[name].([]any)
			for i, block := range list {
				w.block(block, part(at, strconv.Itoa(i)), reg)
			}
		default:
			w.field(name, root[name], nil, at)
		}
	}
}

type secretWalk struct {
	*rules
	*findings
	connector string
	forms     bool
}

func (w secretWalk) block(v any, at []string, reg *connectors.Registry) {
	block := object(v)
	w.connector, _ = block["connector"].(string)
	def, err := reg.Lookup(w.connector)
	if err != nil {
		w.connector = "<connector>"
	}
	for _, name := range slices.Sorted(maps.Keys(block)) {
		settings, ok := block[name].(map[string]any)
		if name != "settings" || !ok {
			w.field(name, block[name], nil, part(at, name))
			continue
		}
		schema := w.rules.settings[w.connector]
		declared := dig(w.resolve(schema), "properties")
		for _, key := range connectors.FieldNames(def.Connection) {
			if _, here := settings[key]; here && declared[key] == nil {
				w.add(part(part(at, name), key), "this belongs to the connection; %s %s`", howToStore, w.connector)
			}
		}
		w.value(settings, schema, part(at, name))
	}
}

// field looks at one field; schema is nil where nothing is declared about it.
func (w secretWalk) field(name string, v any, schema map[string]any, at []string) {
	if schema = w.resolve(schema); schema["format"] == "password" || schema == nil && looksSecret(name) {
		w.add(at, "a secret does not belong here; %s %s`", howToStore, w.connectorName())
		return
	}
	w.value(v, schema, at)
}

func (w secretWalk) value(v any, schema map[string]any, at []string) {
	schema = w.resolve(schema)
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			w.field(name, v[name], dig(schema, "properties", name), part(at, name))
		}
	case []any:
		for i, item := range v {
			w.value(item, dig(schema, "items"), part(at, strconv.Itoa(i)))
		}
	case string:
		if w.forms && secretValue.MatchString(v) {
			w.add(at, "this looks like a secret; %s %s`", howToStore, w.connectorName())
		}
	}
}

func (w secretWalk) connectorName() string {
	if w.connector == "" {
		return "<connector>"
	}
	return w.connector
}
