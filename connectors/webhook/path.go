package webhook

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// parsePath turns a path such as .data.object."a.b" into gjson's syntax with everything escaped that gjson would take
// for a query, a wildcard or a modifier. The path of the whole, ".", gives "".
func parsePath(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, ".")
	if !ok {
		return "", fmt.Errorf("path %q: want it to start with a dot, such as .data.id", path)
	}
	if rest == "" {
		return "", nil
	}
	var names []string
	for {
		var name string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			if name, rest, ok = strings.Cut(quoted, `"`); !ok {
				return "", fmt.Errorf("path %q: a quote is not closed", path)
			}
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			if name, rest = rest[:end], rest[end:]; strings.ContainsAny(name, `"[]`) {
				return "", fmt.Errorf("path %q: names with quotes or brackets are not possible", path)
			}
		}
		if name == "" {
			return "", fmt.Errorf("path %q: a name is empty", path)
		}
		names = append(names, gjson.Escape(name))
		if rest == "" {
			return strings.Join(names, "."), nil
		}
		if rest, ok = strings.CutPrefix(rest, "."); !ok {
			return "", fmt.Errorf("path %q: want a dot after a quoted name", path)
		}
	}
}

// parseRecords turns the path of an array, such as .groups[].events[], into the gjson paths of the arrays to go
// through, each within an element of the one before.
func parseRecords(path string) ([]string, error) {
	parts := strings.Split(path, "[]")
	if last := len(parts) - 1; last == 0 || parts[last] != "" {
		return nil, fmt.Errorf("path %q: want it to end in [], such as .events[]", path)
	}
	var steps []string
	for i, part := range parts[:len(parts)-1] {
		if part == "" && i > 0 {
			part = "."
		}
		step, err := parsePath(part)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}
