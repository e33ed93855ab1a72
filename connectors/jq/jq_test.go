package jq

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

func compile(t *testing.T, program string, variables ...string) *Program {
	t.Helper()
	p, err := Compile(program, variables...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// output runs a program on JSON and encodes what it gives, of which 1 MiB may come.
func output(t *testing.T, program, input string) ([]byte, error) {
	t.Helper()
	v, err := Decode([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := compile(t, program).One(t.Context(), "map", v)
	if err != nil {
		return nil, err
	}
	return Encode("map", out, 1<<20)
}

// Variables have their values in the order in which they were named, and Uses knows which ones a program looks at.
func TestVariables(t *testing.T) {
	t.Parallel()
	p := compile(t, "[$b, {$a}, $stream]", append([]string{"$a", "$b", "$c"}, Variables...)...)
	r := connectors.Record{ID: "e1", Stream: "orders", Key: "7", Op: connectors.Delete, OccurredAt: time.Date(2026, 11, 22, 4, 4, 5, 6e6, time.FixedZone("", 3600))}
	out, ok, err := p.One(t.Context(), "map", nil, append([]any{1, 2, 3}, Values(&r)...)...)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if data, err := Encode("map", out, 100); string(data) != `[2,{"a":1},"orders"]` || err != nil {
		t.Errorf("got %s, %v", data, err)
	}
	for name, want := range map[string]bool{"$a": true, "$b": true, "$c": false, "$stream": true, "$op": false} {
		if p.Uses(name) != want {
			t.Errorf("uses %s: %t", name, !want)
		}
	}
}

// Programs that would run for ever or fill the memory end soon, with an error about the program.
func TestRunsAreBounded(t *testing.T) {
	t.Parallel()
	share := "reduce range(60) as $i ([1]; [., .])"
	for _, program := range []string{
		`def f: f; f`, `[range(1e9)]`, `last(range(1e12))`, `[limit(1e9; repeat(1))]`, `until(false; .)`, `def f: 1 + f; f`,
		`[range(1e9)] | length`, `[recurse(. + 1)]`, `first(range(1; infinite) | select(. < 0))`,
		`"x" * 1e9`, `1e9 * "x"`, `.s * 1e8`, `.s *= 1e8`, `reduce range(100) as $i ("x"; . + .)`, `reduce range(100) as $i ("x"; . += .)`,
		`reduce range(100) as $i ([1]; . + .)`, `reduce range(99) as $i (10; . * .)`, `.["9" * 9 | tonumber] = 1`,
		`.a[9e7 + 1] = 1`, `setpath([9e7]; 1)`, `getpath([9e7]) = 1`, `nth(9e7) = 1`, `[fromstream([[9e7], 1], [[9e7]])]`, `pick(.[9e7 + 1])`,
		`("x" * 1e6) as $s | [range(1e5) | $s] | add`, `("x" * 1e6) as $s | [range(1e5) | $s] | join("")`, `("x" * 1e6) as $s | [range(1e5)] | join($s)`,
		`("x" * 1e6) as $s | add(range(1e5) | $s)`,
		share, share + ` | tojson`, share + ` | tostring`, share + ` | @json`, share + ` | "\(.)"`, share + ` | @text "\(.)"`, share + ` | flatten`,
		share + ` | . == (` + share + `)`, share + ` | . - [` + share + `]`, share + ` | [., (` + share + `)] | sort`, share + ` | [.[], 1] | unique`,
		share + ` | [., (` + share + `)] | sort_by(.)`, share + ` | contains(` + share + `)`, share + ` | index(` + share + `)`,
		share + ` | .[0] |= empty`, share + ` | del(.[0])`, share + ` | [tostream]`, share + ` | [..] | length`,
		`reduce range(60) as $i ({a: 1}; {a: ., b: .}) | . * .`, `reduce range(300000) as $i (1; [.]) | tojson`,
	} {
		start := time.Now()
		data, err := output(t, program, `{"s":"abcdefgh"}`)
		if e, ok := err.(*connectors.Error); !ok || e.Kind != connectors.Invalid {
			t.Errorf("%s: got %d bytes and error %v, want an invalid error", program, len(data), err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: took %s", program, took)
		}
	}
}

// A run ends by its number of steps, which is the same on every machine, and by the clock only where that fails.
func TestBudget(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"def f: f; f", "last(range(1e12))", "until(false; .)"} {
		if _, err := output(t, program, `1`); err == nil || !strings.Contains(err.Error(), "too many steps") {
			t.Errorf("%s: got %v", program, err)
		}
	}
	slow := &budget{Context: t.Context(), left: 1 << 40, end: time.Now()}
	out, _ := compile(t, "def f: f; f").code.RunWithContext(slow, nil).Next()
	if failed, ok := out.(error); !ok || !errors.Is(failed, errTime) {
		t.Errorf("got %v, want %v", out, errTime)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		`.a |`: "unexpected EOF", `.a ~`: "character", `foo(1)`: "function not defined: foo/1", `$x`: "variable not defined: $x",
		`now`: "now can't be used", `.a | now`: "now can't be used", `[.[] | {a: now}]`: "now", `if now then 1 else 2 end`: "now",
		`env.HOME`: "env can't", `$ENV.HOME`: "$ENV can't", `{$ENV}`: "$ENV can't", `input`: "input can't", `[inputs]`: "inputs can't", `input_line_number`: "input_line_number",
		`debug`: "debug can't", `debug("x")`: "debug can't", `stderr`: "stderr can't", `input_filename`: "input_filename can't", `halt`: "halt can't",
		`halt_error(1)`: "halt_error can't", `localtime`: "localtime can't", `strflocaltime("%H")`: "strflocaltime can't",
		`get_search_list`: "get_search_list", `builtins`: "builtins", `"a" | modulemeta`: "modulemeta", `import "a" as a; .`: "modules", `include "a"; .`: "modules",
		`"\(now)"`: "now can't", `@json "\(now)"`: "now can't", `. as {a: $x} | now`: "now", `reduce .[] as $x (now; .)`: "now", `try now`: "now", `.[now]`: "now",
		`label $f | now`: "now", `def f: now; f`: "now", `def now: 1; now`: "now", `-now`: "now", `.a[now:]`: "now", `. as [$a, {b: $c}] ?// $a | now`: "now",
		`{(now | tostring): 1}`: "now", `{"\(now)": 1}`: "now", `. as {"\(now)": $x} | $x`: "now", `foreach .[] as $x (0; 1; now)`: "now",
		`_multiply("x"; 1e9)`: "begin with _", `_guard_tree`: "begin with _", `def tojson: 1; .`: "tojson can't be defined", `.[1000000] = 1`: "too large",
	} {
		if _, err := Compile(program, "$id"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", program, err, want)
		}
	}
}
