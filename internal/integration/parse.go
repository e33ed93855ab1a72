package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"tributary/connectors"
	"tributary/connectors/jq"
)

// Parse reads an integration file and makes its defaults explicit. The error is Problems with everything that is
// wrong, each with its line; file is only the name that they show.
func Parse(file string, src []byte, reg *connectors.Registry) (Spec, error) {
	r, err := newRules(reg)
	if err != nil {
		return Spec{}, err
	}
	return r.parse(file, src, reg)
}

func (r *rules) parse(file string, src []byte, reg *connectors.Registry) (Spec, error) {
	f := newFindings(readYAML(file, src))
	if len(src) <= MaxFileBytes {
		f.refuseSecretText(src)
	}
	if f.doc.root == nil {
		return Spec{}, f.err()
	}
	return r.spec(f, reg, false)
}

// Validate checks a Spec as Parse does a file; the error is Problems without lines.
func Validate(s Spec, reg *connectors.Registry) error {
	r, err := newRules(reg)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	root, err := jq.Decode(raw)
	if err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	_, err = r.spec(newFindings(document{root: root}), reg, true)
	return err
}

// spec checks the document against the schema, then what a schema can't say on the parts that are well formed.
func (r *rules) spec(f *findings, reg *connectors.Registry, forms bool) (Spec, error) {
	r.refuseSecrets(f, reg, forms)
	f.checkRoles(reg)
	if err := r.check(f); err != nil {
		return Spec{}, err
	}
	s, err := decodeSpec(f.sound(f.doc.root, nil))
	if err != nil {
		return Spec{}, err
	}
	f.checkSpec(s, reg)
	if err := f.err(); err != nil {
		return Spec{}, err
	}
	return s.Defaults(reg), nil
}

// sound is the value without the parts in which something is wrong, so that the rest can be decoded and checked. A
// list keeps its length.
func (f *findings) sound(v any, at []string) any {
	if f.wrong[pointer(at)] {
		return nil
	}
	if len(at) > 0 && at[len(at)-1] == "settings" {
		return v // the connector's own, digit for digit
	}
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, item := range v {
			if s := f.sound(item, part(at, name)); s != nil {
				m[name] = s
			}
		}
		return m
	case json.Number:
		// 1e3 and 5.0 are whole numbers to the schema, but not to encoding/json.
		if r, ok := new(big.Rat).SetString(v.String()); ok && r.IsInt() {
			return json.Number(r.Num().String())
		}
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = f.sound(item, part(at, strconv.Itoa(i)))
		}
		return list
	}
	return v
}

func decodeSpec(root any) (Spec, error) {
	var raw bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	if err := e.Encode(root); err != nil {
		return Spec{}, fmt.Errorf("integration: %w", err)
	}
	var s Spec
	if err := json.Unmarshal(raw.Bytes(), &s); err != nil {
		return Spec{}, fmt.Errorf("integration: %w", err)
	}
	return s, nil
}
