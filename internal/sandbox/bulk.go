package sandbox

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Bulk operations: https://shopify.dev/docs/api/usage/bulk-operations/queries. An app runs five at a time in a shop from version 2026-01 on and
// one before; a file lives for seven days; children are put under their parents only where groupObjects asks for it.

// fileLife is how long the vendor keeps a file.
const fileLife = 7 * 24 * time.Hour

// bulkOperations are the app's own.
type bulkOperations struct {
	all  []*bulkOperation
	fail []BulkFailure // for the next operations
}

type bulkOperation struct {
	id      int64
	query   string
	grouped bool
	op      *ast.OperationDefinition
	created time.Time
	failure BulkFailure

	done    time.Time // zero: it has not been looked at since it ended
	token   string    // of the file's URL
	file    []byte
	objects int
	roots   int
	dead    bool // the file is gone
}

// BulkFailure is how an operation is to end.
type BulkFailure struct {
	Status string // FAILED or CANCELED; "" = COMPLETED
	Code   string // errorCode of FAILED
	// Lines is how many lines of the file there are all the same, as partialDataUrl; the last is cut. 0 = no file.
	Lines int
}

// FailBulk makes the next bulk operations end so, one after the other.
func (s *Shop) FailBulk(failures ...BulkFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bulk.fail = append(s.bulk.fail, failures...)
}

// KillFiles ends the life of all files that there are.
func (s *Shop) KillFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.bulk.all {
		op.dead = op.dead || !op.done.IsZero()
	}
}

// Files are those of the operations that have ended, as they were served.
func (s *Shop) Files() (out [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.bulk.all {
		if !op.done.IsZero() {
			out = append(out, op.file)
		}
	}
	return out
}

// BulkOperations tells how many have been started.
func (s *Shop) BulkOperations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bulk.all)
}

func (b *bulkOperations) byID(id string) *bulkOperation {
	for _, op := range b.all {
		if gid("BulkOperation", op.id) == id {
			return op
		}
	}
	return nil
}

func bulkError(code, message string) any {
	e := fields{"field": []any{"query"}, "message": message, "code": code}
	if code != "INVALID" {
		e["field"] = nil
	}
	return fields{"bulkOperation": nil, "userErrors": []fields{e}}
}

func (s *Shop) runBulk(by call, args map[string]any) (any, error) {
	text, _ := args["query"].(string)
	grouped, _ := args["groupObjects"].(bool)
	op, _, problems := parse(s.schema, text, nil)
	if problems != nil {
		return bulkError("INVALID", "Invalid bulk query: "+problems[0].Message), nil
	}
	if message := bulkProblem(op); message != "" {
		return bulkError("INVALID", message), nil
	}
	root := selected(op.SelectionSet)[0]
	if stream, ok := roots[root.Name]; !ok {
		return bulkError("INVALID", "the sandbox shop runs no bulk operation of "+root.Name), nil
	} else if !s.granted(stream) {
		return bulkError("INVALID", fmt.Sprintf("Access denied for %s field.", root.Name)), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 5
	if by.version < "2026-01" {
		most = 1
	}
	var running []string
	for _, o := range s.bulk.all {
		if s.look(o); o.done.IsZero() {
			running = append(running, gid("BulkOperation", o.id))
		}
	}
	if len(running) >= most {
		return bulkError("OPERATION_IN_PROGRESS", "A bulk query operation for this app and shop is already in progress: "+strings.Join(running, ", ")+"."), nil
	}
	o := &bulkOperation{
		id: 4_039_184_154_813 + int64(len(s.bulk.all)), query: text, grouped: grouped, op: op, created: s.options.Now().UTC().Truncate(time.Second),
		token: rand.Text(),
	}
	if len(s.bulk.fail) > 0 {
		o.failure, s.bulk.fail = s.bulk.fail[0], s.bulk.fail[1:]
	}
	s.bulk.all = append(s.bulk.all, o)
	return fields{"bulkOperation": s.bulkNode(by, o), "userErrors": []fields{}}, nil
}

// bulkProblem is why the vendor refuses a query; empty: it does not.
// https://shopify.dev/docs/api/usage/bulk-operations/queries#operation-restrictions
func bulkProblem(op *ast.OperationDefinition) string {
	if op.Operation != ast.Query {
		return "Invalid operation type. Only `query` operations are supported."
	}
	root := selected(op.SelectionSet)
	if len(root) != 1 {
		return "Bulk queries must have a single top-level field."
	}
	count, deepest, inList, without := 0, 0, false, ""
	var walk func(set ast.SelectionSet, depth int, list bool)
	walk = func(set ast.SelectionSet, depth int, list bool) {
		for _, f := range selected(set) {
			d, l := depth, list
			if strings.HasSuffix(f.Definition.Type.Name(), "Connection") {
				count++
				d++
				deepest = max(deepest, d)
				inList = inList || list
				for _, sub := range selected(f.SelectionSet) {
					if sub.Name == "edges" {
						for _, node := range selected(sub.SelectionSet) {
							if node.Name == "node" && !selects(node.SelectionSet, "id") && nests(node.SelectionSet) {
								without = f.Name
							}
						}
					}
				}
			} else if f.Definition.Type.Elem != nil && f.Name != "edges" && f.Name != "nodes" {
				l = true
			}
			walk(f.SelectionSet, d, l)
		}
	}
	walk(op.SelectionSet, 0, false)
	switch {
	case count == 0:
		return "Bulk queries must contain at least one connection."
	case count > 5:
		return "Bulk queries cannot contain more than 5 connections."
	case deepest > 2:
		return "Bulk queries cannot contain connections with a nesting depth greater than 2."
	case inList:
		return "Queries that contain a connection field within a list field are not currently supported."
	case without != "":
		return "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of 'ID' return type. " +
			"Connection fields without 'id': " + without + "."
	}
	return ""
}

func selects(set ast.SelectionSet, name string) bool {
	return slices.ContainsFunc(selected(set), func(f *ast.Field) bool { return f.Name == name && f.Alias == name })
}

func nests(set ast.SelectionSet) bool {
	return slices.ContainsFunc(selected(set), func(f *ast.Field) bool { return strings.HasSuffix(f.Definition.Type.Name(), "Connection") })
}

// look ends an operation whose time has come. The file holds the state of the shop at its end, not at its start.
func (s *Shop) look(o *bulkOperation) {
	if !o.done.IsZero() {
		o.dead = o.dead || s.options.Now().Sub(o.done) > fileLife
		return
	}
	if s.options.Now().Before(o.created.Add(s.options.BulkTime)) {
		return
	}
	o.done = s.options.Now().UTC().Truncate(time.Second)
	s.write(o)
	if o.failure.Status == "" {
		return
	}
	lines := bytes.SplitAfter(o.file, []byte("\n"))
	o.file = bytes.Join(lines[:min(o.failure.Lines, len(lines))], nil)
	if len(o.file) > 0 {
		o.file = o.file[:len(o.file)-len(lines[min(o.failure.Lines, len(lines))-1])/2]
	}
}

// write makes the file.
func (s *Shop) write(o *bulkOperation) {
	root := selected(o.op.SelectionSet)[0]
	stream := roots[root.Name]
	args := root.ArgumentMap(nil) // with defaults
	search, _ := args["query"].(string)
	f, _ := parseSearch(search)
	var found []place
	if c, ok := s.collections[stream]; ok {
		found, _ = c.page(f, true, position{}, 1<<30)
	} else {
		found, _ = pageOf(s.derived(stream), f, 0, 1<<30)
	}
	// Orders are sorted by when they were processed, unless another order is asked for; those that were imported have been elsewhere, long ago.
	if sortKey, _ := args["sortKey"].(string); sortKey == "PROCESSED_AT" {
		half := len(found) / 2
		found = slices.Concat(found[half:], found[:half])
	}
	var below bytes.Buffer
	var a answer
	for _, p := range found {
		node := p.node()
		parent, _ := node["id"].(string)
		var children bytes.Buffer
		a.bulk = func(of fields, sub *ast.Field) {
			list, _ := of[sub.Name].(nested)
			search, _ := sub.ArgumentMap(nil)["query"].(string)
			nodeField := nodeOf(sub)
			for _, child := range list {
				if from := updatedFrom(search); !from.IsZero() {
					if at, err := time.Parse(time.RFC3339, fmt.Sprint(child["updatedAt"])); err == nil && at.Before(from) {
						continue
					}
				}
				c := answer{bulk: func(fields, *ast.Field) {}}
				c.object(child, nodeField, nil)
				line := bytes.TrimSuffix(c.data.Bytes(), []byte("}"))
				fmt.Fprintf(&children, "%s,\"__parentId\":%q}\n", line, parent)
				o.objects++
			}
		}
		a.object(node, nodeOf(root), nil)
		a.data.WriteByte('\n')
		o.objects++
		o.roots++
		if o.grouped {
			a.data.Write(children.Bytes())
		} else {
			below.Write(children.Bytes())
		}
	}
	o.file = append(a.data.Bytes(), below.Bytes()...)
}

var updatedTerm = regexp.MustCompile(`updated_at:>='([^']*)'`)

func updatedFrom(search string) time.Time {
	if m := updatedTerm.FindStringSubmatch(search); m != nil {
		at, _ := time.Parse(time.RFC3339, m[1])
		return at
	}
	return time.Time{}
}

// nodeOf finds the field of a connection that selects its nodes.
func nodeOf(f *ast.Field) *ast.Field {
	for _, sub := range selected(f.SelectionSet) {
		switch sub.Name {
		case "nodes":
			return sub
		case "edges":
			for _, node := range selected(sub.SelectionSet) {
				if node.Name == "node" {
					return node
				}
			}
		}
	}
	return &ast.Field{}
}

func (s *Shop) bulkNode(by call, o *bulkOperation) fields {
	s.look(o)
	n := fields{
		"__typename": "BulkOperation", "id": gid("BulkOperation", o.id), "type": "QUERY", "status": "RUNNING", "errorCode": nil, "query": o.query,
		"createdAt": nodeTime(o.created), "completedAt": nil, "objectCount": "0", "rootObjectCount": "0", "fileSize": nil, "url": nil,
		"partialDataUrl": nil,
	}
	if o.done.IsZero() {
		return n
	}
	n["completedAt"], n["status"] = nodeTime(o.done), "COMPLETED"
	n["objectCount"], n["rootObjectCount"] = fmt.Sprint(o.objects), fmt.Sprint(o.roots)
	url := "url"
	if o.failure.Status != "" {
		n["status"], n["completedAt"], url = o.failure.Status, nil, "partialDataUrl"
		if o.failure.Code != "" {
			n["errorCode"] = o.failure.Code
		}
	}
	if len(o.file) > 0 {
		n["fileSize"], n[url] = fmt.Sprint(len(o.file)), s.fileURL(by, o)
	}
	return n
}

// fileURL is signed and leads to a storage that is not the shop; a shop that is reached by its own address keeps its files itself.
func (s *Shop) fileURL(by call, o *bulkOperation) string {
	base := "https://storage.googleapis.com"
	if by.plain && by.host != s.options.Domain {
		base = "http://" + by.host
	}
	return fmt.Sprintf("%s/shopify-tiers-assets-sandbox/bulk-%d.jsonl?Expires=0&Signature=%s", base, o.id, o.token)
}

var filePath = regexp.MustCompile(`^/shopify-tiers-assets-sandbox/bulk-(\d+)\.jsonl$`)

// serveFile answers as the storage does, which knows signatures and no access tokens.
func (s *Shop) serveFile(w http.ResponseWriter, r *http.Request, id string) {
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code></Error>", code)
	}
	if r.Header.Get("X-Shopify-Access-Token") != "" || r.Header.Get("Authorization") != "" {
		refuse(http.StatusBadRequest, "CredentialsLeaked")
		return
	}
	s.mu.Lock()
	var o bulkOperation
	if op := s.bulk.byID("gid://shopify/BulkOperation/" + id); op != nil {
		s.look(op)
		o = *op
	}
	s.mu.Unlock()
	switch {
	case r.Method != http.MethodGet:
		refuse(http.StatusMethodNotAllowed, "MethodNotAllowed")
	case o.dead || o.done.IsZero():
		refuse(http.StatusNotFound, "NoSuchKey")
	case r.URL.Query().Get("Signature") != o.token:
		refuse(http.StatusForbidden, "SignatureDoesNotMatch")
	default:
		if w = s.spoil(w, r); w == nil {
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		http.ServeContent(w, r, "", o.done, bytes.NewReader(o.file))
	}
}

// listBulk lists the newest first, from version 2026-01 on: https://shopify.dev/changelog/new-queries-for-bulk-operations
func (s *Shop) listBulk(by call, args map[string]any) (any, error) {
	if by.version < "2026-01" {
		return nil, &fault{"undefinedField", "Field 'bulkOperations' doesn't exist on type 'QueryRoot'"}
	}
	first, after, err := paging(args)
	if err != nil {
		return nil, err
	}
	if search, _ := args["query"].(string); search != "operation_type:query" && search != "" {
		return nil, &fault{"BAD_REQUEST", "the sandbox shop filters bulk operations by operation_type alone"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var c connection
	for _, o := range slices.Backward(s.bulk.all) {
		if after.ID != 0 && o.id >= after.ID {
			continue
		}
		if len(c.nodes) == first {
			c.more = true
			break
		}
		c.nodes = append(c.nodes, s.bulkNode(by, o))
		c.cursors = append(c.cursors, encodeCursor(position{ID: o.id}))
	}
	return c, nil
}

// currentBulk is the latest operation, running or not.
func (s *Shop) currentBulk(by call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bulk.all) == 0 {
		return nil
	}
	return s.bulkNode(by, s.bulk.all[len(s.bulk.all)-1])
}
