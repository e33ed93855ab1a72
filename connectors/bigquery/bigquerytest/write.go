package bigquerytest

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/duckdb/duckdb-go/v2"
	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"tributary/connectors/connectortest/fault"
)

// stream is one that an application made.
type stream struct {
	table     *stored
	length    int64
	finalized bool
	columns   int // that the table had when it was made
}

// writer serves the Storage Write API.
type writer struct {
	storagepb.UnimplementedBigQueryWriteServer
	server *Server
}

var errLost = status.Error(codes.Unavailable, "the connection broke")

// enter checks who calls, and that what the call is routed by was said: https://google.aip.dev/client-libraries/4222
func (w *writer) enter(ctx context.Context, permission, routed string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	get := func(name string) string { return strings.Join(md.Get(name), "") }
	switch {
	case !w.server.known(get("authorization")):
		return w.server.refusal("UNAUTHENTICATED", "", "Request had invalid authentication credentials.").Err()
	case w.server.denied[permission]:
		return w.server.refusal("PERMISSION_DENIED", "", "Permission '%s' denied on resource (or it may not exist).", permission).Err()
	case !strings.HasPrefix(get("x-goog-request-params"), routed+"=projects%2F"):
		return status.Error(codes.InvalidArgument, "Request is missing its routing header")
	}
	return nil
}

func (w *writer) table(path string) (*stored, string, bool) {
	id, ok := strings.CutPrefix(path, "projects/"+Project+"/datasets/"+Dataset+"/tables/")
	return w.server.tables[id], id, ok
}

func (w *writer) CreateWriteStream(ctx context.Context, r *storagepb.CreateWriteStreamRequest) (*storagepb.WriteStream, error) {
	s := w.server
	befell := s.Befalls("CreateWriteStream")
	if befell == fault.Lost {
		return nil, errLost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := w.enter(ctx, "bigquery.tables.updateData", "parent"); err != nil {
		return nil, err
	}
	t, _, _ := w.table(r.GetParent())
	if t == nil {
		return nil, s.refusal("TABLE_NOT_FOUND", r.GetParent(), "Requested entity was not found.").Err()
	}
	if r.GetWriteStream().GetType() != storagepb.WriteStream_COMMITTED {
		return nil, status.Error(codes.InvalidArgument, "the test server has committed streams only")
	}
	s.serial++
	name := fmt.Sprintf("%s/streams/Stream%d", r.GetParent(), s.serial)
	s.streams[name] = &stream{table: t, columns: len(t.Schema.Fields)}
	if befell == fault.Unheard {
		return nil, errLost
	}
	return &storagepb.WriteStream{Name: name, Type: storagepb.WriteStream_COMMITTED}, nil
}

// alive finds a stream whose table is still the one that it was made for.
func (w *writer) alive(name string) *stream {
	st := w.server.streams[name]
	if st != nil && w.server.tables[st.table.TableReference.TableId] == st.table {
		return st
	}
	return nil
}

func (w *writer) FinalizeWriteStream(ctx context.Context, r *storagepb.FinalizeWriteStreamRequest) (*storagepb.FinalizeWriteStreamResponse, error) {
	s := w.server
	befell := s.Befalls("FinalizeWriteStream")
	if befell == fault.Lost {
		return nil, errLost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := w.enter(ctx, "bigquery.tables.updateData", "name"); err != nil {
		return nil, err
	}
	st := w.alive(r.GetName())
	if st == nil {
		return nil, s.refusal("STREAM_NOT_FOUND", r.GetName(), "Requested entity was not found.").Err()
	}
	st.finalized = true
	if befell == fault.Unheard {
		return nil, errLost
	}
	return &storagepb.FinalizeWriteStreamResponse{RowCount: st.length}, nil
}

// AppendRows takes the schema from the first request of a connection, and each request whole or not at all.
func (w *writer) AppendRows(call storagepb.BigQueryWrite_AppendRowsServer) error {
	var name string
	var schema *descriptorpb.DescriptorProto
	for {
		r, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if size := proto.Size(r); size > 10_000_000 { // https://cloud.google.com/bigquery/quotas#write-api-limits
			return status.Errorf(codes.InvalidArgument, "Message size %d is too large", size)
		}
		if r.GetWriteStream() != "" {
			if name != "" && name != r.GetWriteStream() {
				return status.Error(codes.InvalidArgument, "the test server takes one stream a connection")
			}
			name = r.GetWriteStream()
		}
		if sent := r.GetProtoRows().GetWriterSchema(); sent != nil {
			schema = sent.GetProtoDescriptor()
		}
		if schema == nil || name == "" {
			return status.Error(codes.InvalidArgument, "Invalid proto schema: the first request must have it, and the stream")
		}
		method := "AppendRows"
		if strings.HasSuffix(name, "/_default") {
			method = "AppendRows default"
		}
		befell := w.server.Befalls(method)
		if befell == fault.Lost {
			return errLost
		}
		if name := w.server.answers(method); name != "" {
			return w.server.refusal(name, name, "Bad value: %s", Secret).Err()
		}
		answer, err := w.append(call.Context(), name, schema, r)
		if befell == fault.Unheard {
			return errLost
		}
		if err != nil {
			return err
		}
		if err := call.Send(answer); err != nil {
			return err
		}
	}
}

func (w *writer) append(ctx context.Context, name string, schema *descriptorpb.DescriptorProto, r *storagepb.AppendRowsRequest) (*storagepb.AppendRowsResponse, error) {
	s := w.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := w.enter(ctx, "bigquery.tables.updateData", "write_stream"); err != nil {
		return nil, err
	}
	inBand := func(name, entity, format string, args ...any) (*storagepb.AppendRowsResponse, error) {
		return &storagepb.AppendRowsResponse{Response: &storagepb.AppendRowsResponse_Error{Error: s.refusal(name, entity, format, args...).Proto()}}, nil
	}
	var t *stored
	st := w.alive(name)
	if path, ok := strings.CutSuffix(name, "/streams/_default"); ok {
		if t, _, _ = w.table(path); t == nil {
			return nil, s.refusal("TABLE_NOT_FOUND", path, "Requested entity was not found.").Err()
		}
		st = nil
		if r.GetOffset() != nil {
			return nil, status.Error(codes.InvalidArgument, "Offset must not be set for the default stream")
		}
	} else if st == nil {
		return nil, s.refusal("STREAM_NOT_FOUND", name, "Requested entity was not found.").Err()
	} else {
		t = st.table
	}
	if st != nil && st.finalized {
		return inBand("STREAM_FINALIZED", name, "Stream has been finalized and cannot be appended.")
	}
	if st != nil && r.GetOffset() != nil {
		switch at := r.GetOffset().GetValue(); {
		case at < st.length:
			return inBand("OFFSET_ALREADY_EXISTS", name, "The offset is within stream, expected offset %d, received %d", st.length, at)
		case at > st.length:
			return inBand("OFFSET_OUT_OF_RANGE", name, "The offset is beyond stream, expected offset %d, received %d", st.length, at)
		}
	}
	columns, unknown := bind(t, st, schema)
	if unknown != "" {
		return inBand("SCHEMA_MISMATCH_EXTRA_FIELDS", name, "Input schema has more fields than BigQuery schema, extra fields: '%s'", unknown)
	}
	rows := r.GetProtoRows().GetRows().GetSerializedRows()
	values := make([][]driver.Value, len(rows))
	var bad []*storagepb.RowError
	for i, row := range rows {
		var problem string
		if values[i], problem = decode(&t.Table, columns, row); problem != "" {
			bad = append(bad, &storagepb.RowError{Index: int64(i), Code: storagepb.RowError_FIELDS_ERROR, Message: problem})
		}
	}
	if bad != nil { // https://cloud.google.com/bigquery/docs/write-api-best-practices: no row of the request is written
		s.returned.Return("FIELDS_ERROR")
		return &storagepb.AppendRowsResponse{RowErrors: bad, Response: &storagepb.AppendRowsResponse_Error{Error: status.New(codes.InvalidArgument, "Errors found while processing rows. Please refer to the row_errors field for details.").Proto()}}, nil
	}
	if err := s.store(t, values); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	result := &storagepb.AppendRowsResponse_AppendResult{}
	if st != nil {
		result.Offset = wrapperspb.Int64(st.length)
		st.length += int64(len(rows))
	}
	return &storagepb.AppendRowsResponse{Response: &storagepb.AppendRowsResponse_AppendResult_{AppendResult: result}, WriteStream: name}, nil
}

// bound is a field of the rows' message.
type bound struct {
	at   int // index of the column
	kind descriptorpb.FieldDescriptorProto_Type
}

// bind finds the columns of a message's fields, by the annotation or by name. A stream knows the columns that the table had when it was made.
func bind(t *stored, st *stream, schema *descriptorpb.DescriptorProto) (map[protowire.Number]bound, string) {
	columns := make(map[protowire.Number]bound)
	for _, f := range schema.GetField() {
		name := f.GetName()
		if annotated, ok := proto.GetExtension(f.GetOptions(), storagepb.E_ColumnName).(string); ok && annotated != "" {
			name = annotated
		}
		at := -1
		for i, c := range t.Schema.Fields {
			if strings.EqualFold(c.Name, name) && (st == nil || i < st.columns) {
				at = i
			}
		}
		if at < 0 {
			return nil, name
		}
		columns[protowire.Number(f.GetNumber())] = bound{at, f.GetType()}
	}
	return columns, ""
}

// decode reads a row's message and finds out whether its values fit: https://cloud.google.com/bigquery/docs/write-api#data_type_conversions
func decode(t *rest.Table, columns map[protowire.Number]bound, row []byte) (values []driver.Value, problem string) {
	values = make([]driver.Value, len(t.Schema.Fields))
	for len(row) > 0 {
		number, kind, n := protowire.ConsumeTag(row)
		b, ok := columns[number]
		if n < 0 || !ok {
			return nil, "Failed to parse the row"
		}
		row = row[n:]
		c := t.Schema.Fields[b.at]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(row)
			if n < 0 {
				return nil, "Failed to parse the row"
			}
			row = row[n:]
			switch {
			case b.kind == descriptorpb.FieldDescriptorProto_TYPE_BOOL && c.Type == "BOOLEAN":
				values[b.at] = v != 0
			case b.kind == descriptorpb.FieldDescriptorProto_TYPE_INT64 && c.Type == "INTEGER":
				values[b.at] = int64(v)
			case b.kind == descriptorpb.FieldDescriptorProto_TYPE_INT64 && c.Type == "TIMESTAMP":
				values[b.at] = time.UnixMicro(int64(v)).UTC()
			default:
				return nil, "The type of field " + c.Name + " does not fit its column"
			}
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(row)
			if n < 0 || b.kind != descriptorpb.FieldDescriptorProto_TYPE_STRING || !utf8.Valid(v) {
				return nil, "Failed to parse the row"
			}
			row = row[n:]
			if values[b.at], problem = text(c.Type, string(v)); problem != "" {
				return nil, "Field " + c.Name + ": " + problem
			}
		default:
			return nil, "Failed to parse the row"
		}
	}
	for i, c := range t.Schema.Fields {
		if c.Mode == "REQUIRED" && values[i] == nil {
			return nil, "Field " + c.Name + " is required"
		}
	}
	return values, ""
}

// text is a value that comes as text, as the column keeps it.
func text(kind, v string) (any, string) {
	switch kind {
	case "STRING":
		return v, ""
	case "JSON":
		return normal(v)
	case "BIGNUMERIC", "NUMERIC":
		integer, fraction := 38, 38
		if kind == "NUMERIC" {
			integer, fraction = 29, 9
		}
		r, ok := new(big.Rat).SetString(v)
		if !ok {
			return nil, "Invalid NUMERIC value"
		}
		spelled := r.FloatString(fraction)
		if back, _ := new(big.Rat).SetString(spelled); back.Cmp(r) != 0 || len(strings.TrimPrefix(strings.Split(spelled, ".")[0], "-")) > integer {
			return nil, "NUMERIC value is out of range"
		}
		return strings.TrimSuffix(strings.TrimRight(spelled, "0"), "."), ""
	}
	return nil, "does not take text"
}

// store appends rows to a table of the engine's, whose first column is never used.
func (s *Server) store(t *stored, rows [][]driver.Value) error {
	return s.db.Raw(func(conn any) error {
		a, err := duckdb.NewAppender(conn.(driver.Conn), "", "main", t.name)
		if err != nil {
			return err
		}
		row := make([]driver.Value, len(t.Schema.Fields)+1)
		for _, values := range rows {
			copy(row[1:], values)
			if err := a.AppendRow(row...); err != nil {
				return errors.Join(err, a.Clear(), a.Close())
			}
		}
		return a.Close()
	})
}
