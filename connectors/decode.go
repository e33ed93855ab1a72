package connectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Decode reads settings or a connection into T, strictly: an unknown field is refused with the list of known ones. A nil
// raw gives the zero T.
func Decode[T any](raw json.RawMessage) (T, error) {
	var v T
	if len(raw) == 0 {
		return v, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return v, Errorf(Invalid, "settings", "unknown field %s; known are %s", field, strings.Join(FieldNames(v), ", "))
		}
		return v, Errorf(Invalid, "settings", "%s", describe(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return v, Errorf(Invalid, "settings", "more than one JSON value")
	}
	return v, nil
}

// describe leaves out the value that did not fit: it may be a secret.
func describe(err error) string {
	if e, ok := err.(*json.UnmarshalTypeError); ok {
		return fmt.Sprintf("field %s: want %s, got %s", e.Field, e.Type, strings.Fields(e.Value + " ")[0])
	}
	return "not valid JSON"
}

// FieldNames lists the JSON names of a struct's fields, sorted.
func FieldNames(v any) []string {
	var names []string
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			names = append(names, FieldNames(reflect.Zero(f.Type).Interface())...)
		}
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
