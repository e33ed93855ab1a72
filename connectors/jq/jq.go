// Package jq runs jq programs that are pure and bounded: no clock, no environment, no other input, and an end to time, memory
// and output, whatever the program.
package jq

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// forbidden are the functions of jq that read a clock, the machine or other input, or end the program: their results
// would differ from one attempt to the next. The value says what instead.
var forbidden = map[string]string{
	"now":               "$occurred_at and $received_at are the record's times",
	"localtime":         "it depends on the machine's time zone; use gmtime",
	"strflocaltime":     "it depends on the machine's time zone; use strftime",
	"env":               "there is no environment",
	"$ENV":              "there is no environment",
	"input":             "a program sees one record",
	"inputs":            "a program sees one record",
	"input_line_number": "a program sees one record",
	"input_filename":    "a program sees one record",
	"debug":             "nothing is printed",
	"stderr":            "nothing is printed",
	"halt":              "use empty to leave a record out",
	"halt_error":        "use empty to leave a record out",
	"get_search_list":   "there are no modules",
	"modulemeta":        "there are no modules",
	"builtins":          "its order differs from run to run",
}

// Program is a compiled program. It is safe for concurrent use.
type Program struct {
	code *gojq.Code
	seen map[string]bool
}

// Compile compiles a program that knows the variables, each with its $, beside its input. Its error is for the person who wrote the
// program.
func Compile(src string, variables ...string) (*Program, error) {
	query, err := gojq.Parse(src)
	if err != nil {
		if e := (*gojq.ParseError)(nil); errors.As(err, &e) {
			return nil, fmt.Errorf("jq: %w at character %d", err, e.Offset)
		}
		return nil, fmt.Errorf("jq: %w", err)
	}
	if query.Meta != nil || len(query.Imports) > 0 {
		return nil, errors.New("jq: modules can't be used; write the functions into the program")
	}
	r := restriction{seen: make(map[string]bool)}
	r.query(query)
	if r.err != nil {
		return nil, r.err
	}
	code, err := gojq.Compile(query, append(guards(), gojq.WithVariables(variables))...)
	if err != nil {
		return nil, fmt.Errorf("jq: %w", err)
	}
	return &Program{code: code, seen: r.seen}, nil
}

// Uses says whether the program looks at a variable, given with its $.
func (p *Program) Uses(variable string) bool { return p.seen[variable] }

// restriction walks a program, refuses what is forbidden, and puts guards before the operations that could take memory
// or time out of proportion to the payload, which the virtual machine can't interrupt: those that repeat or join values,
// write far beyond an array's end, or walk through a value that contains itself many times.
type restriction struct {
	err  error
	seen map[string]bool // variables
}

func (r *restriction) refuse(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("jq: "+format, args...)
	}
}

func (r *restriction) query(q *gojq.Query) {
	if q == nil {
		return
	}
	for _, def := range q.FuncDefs {
		r.define(def.Name)
		for _, arg := range def.Args {
			r.define(arg)
		}
		r.query(def.Body)
	}
	r.term(q.Term)
	r.query(q.Left)
	r.query(q.Right)
	for _, p := range q.Patterns {
		r.pattern(p)
	}
	r.operator(q)
}

// operator puts guards before an operator's operands, which have their own already.
func (r *restriction) operator(q *gojq.Query) {
	switch q.Op {
	case gojq.OpEq, gojq.OpNe, gojq.OpLt, gojq.OpLe, gojq.OpGt, gojq.OpGe, gojq.OpSub, gojq.OpDiv:
		// With a constant beside it, a comparison ends where the constant does.
		if !constant(q.Left) && !constant(q.Right) {
			q.Left, q.Right = guarded(q.Left, guardTree), guarded(q.Right, guardTree)
		}
	case gojq.OpAdd:
		q.Left, q.Right = guarded(q.Left, guardSize), guarded(q.Right, guardSize)
	case gojq.OpMul:
		// guardProduct gives both factors: l * r becomes guard(l; r) as [$l, $r] | $l * $r.
		const left, right = "$__left", "$__right"
		both := []*gojq.Pattern{{Array: []*gojq.Pattern{{Name: left}, {Name: right}}}}
		product := &gojq.Query{Op: gojq.OpMul, Left: call(left), Right: call(right)}
		*q = gojq.Query{FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: call(guardProduct, q.Left, q.Right), Patterns: both, Right: product}
	case gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul:
		// p += v becomes v as $operand | p |= . + $operand, which is how jq defines it.
		const operand = "$__operand"
		body := &gojq.Query{Op: updates[q.Op], Left: identity(), Right: call(operand)}
		r.operator(body)
		update := &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: body}
		*q = gojq.Query{FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: q.Right, Patterns: []*gojq.Pattern{{Name: operand}}, Right: update}
	case gojq.OpModify:
		// An update that gives nothing deletes, and deleting walks through the whole value.
		update := &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: q.Right}
		*q = gojq.Query{FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: call(guardTree), Right: update}
	}
}

var updates = map[gojq.Operator]gojq.Operator{gojq.OpUpdateAdd: gojq.OpAdd, gojq.OpUpdateSub: gojq.OpSub, gojq.OpUpdateMul: gojq.OpMul}

func (r *restriction) term(t *gojq.Term) {
	if t == nil {
		return
	}
	r.index(t.Index)
	for _, s := range t.SuffixList {
		r.index(s.Index)
	}
	r.text(t.Str)
	r.query(t.Query)
	if t.Unary != nil {
		r.term(t.Unary.Term)
	}
	if t.Array != nil {
		r.query(t.Array.Query)
	}
	if t.Object != nil {
		for _, kv := range t.Object.KeyVals {
			r.key(kv.Key)
			r.text(kv.KeyString)
			r.query(kv.KeyQuery)
			r.query(kv.Val)
		}
	}
	if t.If != nil {
		r.query(t.If.Cond)
		r.query(t.If.Then)
		for _, e := range t.If.Elif {
			r.query(e.Cond)
			r.query(e.Then)
		}
		r.query(t.If.Else)
	}
	if t.Try != nil {
		r.query(t.Try.Body)
		r.query(t.Try.Catch)
	}
	if l := t.Reduce; l != nil {
		r.loop(l.Patterns, l.Query, l.Start, l.Update)
	}
	if l := t.Foreach; l != nil {
		r.loop(l.Patterns, l.Query, l.Start, l.Update, l.Extract)
	}
	if t.Label != nil {
		r.query(t.Label.Body)
	}
	if t.Type == gojq.TermTypeFormat && t.Str == nil {
		wrap(t, guardTree) // @json, @csv, ... of the whole input
	}
	if t.Func != nil {
		r.function(t)
	}
}

func (r *restriction) loop(patterns []*gojq.Pattern, queries ...*gojq.Query) {
	for _, p := range patterns {
		r.pattern(p)
	}
	for _, q := range queries {
		r.query(q)
	}
}

func (r *restriction) pattern(p *gojq.Pattern) {
	if p == nil {
		return
	}
	r.define(p.Name)
	for _, p := range p.Array {
		r.pattern(p)
	}
	for _, kv := range p.Object {
		r.key(kv.Key)
		r.text(kv.KeyString)
		r.query(kv.KeyQuery)
		r.pattern(kv.Val)
	}
}

func (r *restriction) text(s *gojq.String) {
	if s == nil {
		return
	}
	for _, q := range s.Queries {
		r.query(q)
		if q.Term != nil && q.Term.Type == gojq.TermTypeQuery { // \(...)
			q.Term.Query = guarded(q.Term.Query, guardTree)
		}
	}
}

// index bounds the elements that can be reached, because writing to one makes all before it.
func (r *restriction) index(i *gojq.Index) {
	if i == nil {
		return
	}
	r.text(i.Str)
	r.query(i.Start)
	r.query(i.End)
	if i.IsSlice || i.Start == nil {
		return
	}
	if !constant(i.Start) {
		i.Start = guarded(i.Start, guardIndex)
	} else if t := i.Start.Term; t.Type == gojq.TermTypeNumber {
		if n, err := strconv.ParseFloat(t.Number, 64); err != nil || n > maxIndex {
			r.refuse("index %s is too large; at most %d", t.Number, maxIndex)
		}
	}
}

// name refuses what is forbidden, by the name of a function or variable.
func (r *restriction) name(name string) {
	if instead, no := forbidden[name]; no {
		r.refuse("%s can't be used: %s", name, instead)
	}
	if strings.HasPrefix(strings.TrimPrefix(name, "$"), "_") && name != "$__loc__" {
		r.refuse("%s can't be used: names that begin with _ are jq's own", name)
	}
	if strings.HasPrefix(name, "$") {
		r.seen[name] = true
	}
}

// key looks at the key of an object, where only a variable is more than a word.
func (r *restriction) key(key string) {
	if strings.HasPrefix(key, "$") {
		r.name(key)
	}
}

// define refuses to give a name to something else that the guards or the rules know by it.
func (r *restriction) define(name string) {
	r.name(name)
	if _, ok := walkers[name]; ok {
		r.refuse("%s can't be defined: jq has a function of this name; choose another", name)
	}
}

func (r *restriction) function(t *gojq.Term) {
	f := t.Func
	r.name(f.Name)
	for _, arg := range f.Args {
		r.query(arg)
	}
	w, ok := walkers[f.Name]
	if !ok {
		return
	}
	for i, arg := range f.Args {
		if w.arguments != "" && (i == 0 || w.arguments != guardIndex) {
			f.Args[i] = guarded(arg, w.arguments)
		}
	}
	switch {
	case f.Name == "add" && len(f.Args) == 1: // add(f) is [f] | add
		array := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeArray, Array: &gojq.Array{Query: f.Args[0]}}}
		f.Args = nil
		wrap(t, guardSum)
		t.Query = &gojq.Query{Op: gojq.OpPipe, Left: array, Right: t.Query}
	case f.Name == "join" && len(f.Args) == 1: // the separator counts for every element
		const separator = "$__separator"
		by := f.Args[0]
		f.Args[0] = call(separator)
		inner := &gojq.Query{Op: gojq.OpPipe, Left: call(guardSum, call(separator)), Right: &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: f}}}
		t.Type, t.Func = gojq.TermTypeQuery, nil
		t.Query = &gojq.Query{Op: gojq.OpPipe, Left: by, Patterns: []*gojq.Pattern{{Name: separator}}, Right: inner}
	case w.input != "":
		wrap(t, w.input)
	}
}

// constant reports whether a query is a single literal.
func constant(q *gojq.Query) bool {
	if q == nil || q.Term == nil || len(q.Term.SuffixList)+len(q.FuncDefs) > 0 {
		return false
	}
	switch t := q.Term; t.Type {
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
		return true
	case gojq.TermTypeString:
		return t.Str.Queries == nil
	}
	return false
}

// guarded is q | guard.
func guarded(q *gojq.Query, guard string) *gojq.Query {
	if constant(q) {
		return q
	}
	return &gojq.Query{Op: gojq.OpPipe, Left: q, Right: call(guard)}
}

// wrap turns a term into (guard | term), which what is indexed behind it doesn't notice.
func wrap(t *gojq.Term, guard string) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{
		Type: gojq.TermTypeQuery, SuffixList: t.SuffixList,
		Query: &gojq.Query{Op: gojq.OpPipe, Left: call(guard), Right: &gojq.Query{Term: &inner}},
	}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }
