package bigquery

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"tributary/connectors"
	"tributary/connectors/table"
)

// writer is a committed stream that one lane writes one table through.
type writer struct {
	stream string
	offset int64 // of the next row
	// there are the ordinals, from the ledger's position up, whose rows are in the table.
	there map[int64]struct{}
	// columns that the table had when the stream was made: it may not know later ones.
	columns map[string]bool
}

// knows says that the stream takes rows of the columns.
func (w *writer) knows(columns []column) bool {
	for _, c := range columns {
		if !w.columns[c.name+" "+c.kind] {
			return false
		}
	}
	return true
}

// takeOver makes a stream for a lane and a table, after it has seen to it that nobody else's takes rows any more (I3). The order matters: see the package.
func (s *store) takeOver(ctx context.Context, b *connectors.Batch, position int64, id string, columns []column) (*writer, error) {
	of := parameters{"epoch": b.Epoch, "lane": b.Lane, "table": id}
	number, last := int64(0), ""
	sql := "SELECT number, stream FROM " + s.dataset.own(streams) + " WHERE epoch = @epoch AND lane = @lane AND table_name = @table ORDER BY number DESC LIMIT 1"
	err := s.client.query(ctx, s.place.location, sql, of, func(row []string) (err error) {
		last = row[1]
		number, err = strconv.ParseInt(row[0], 10, 64)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.client.finalize(ctx, last); err != nil {
		return nil, err
	}
	w := &writer{there: make(map[int64]struct{}), columns: make(map[string]bool)}
	for _, c := range columns {
		w.columns[c.name+" "+c.kind] = true
	}
	sql = "SELECT _ordinal FROM " + s.dataset.own(id) + " WHERE _installation = @installation AND _epoch = @epoch AND _lane = @lane AND _ordinal >= @position"
	err = s.client.query(ctx, s.place.location, sql, parameters{"installation": b.Installation, "epoch": b.Epoch, "lane": b.Lane, "position": position}, func(row []string) error {
		ordinal, err := strconv.ParseInt(row[0], 10, 64)
		w.there[ordinal] = struct{}{}
		return err
	})
	if err != nil {
		return nil, err
	}
	if w.stream, err = s.client.create(ctx, s.dataset.path(id)); err != nil {
		return nil, err
	}
	of["number"], of["stream"] = number+1, w.stream
	name := digest("stream", s.place.made, s.dataset.own(id), b.Epoch, b.Lane, fmt.Sprint(number+1))
	sql = "INSERT INTO " + s.dataset.own(streams) + " (epoch, lane, table_name, number, stream, updated_at) VALUES (@epoch, @lane, @table, @number, @stream, CURRENT_TIMESTAMP())"
	if err := s.client.once(ctx, s.place.location, name, sql, of); err != nil {
		return nil, err
	}
	return w, nil
}

func (k *client) create(ctx context.Context, table string) (string, error) {
	ctx, err := k.call(ctx, "parent", table)
	if err != nil {
		return "", err
	}
	made, err := k.write.CreateWriteStream(ctx, &storagepb.CreateWriteStreamRequest{Parent: table, WriteStream: &storagepb.WriteStream{Type: storagepb.WriteStream_COMMITTED}})
	if err != nil {
		return "", err
	}
	return made.GetName(), nil
}

// finalize sees to it that a stream takes no more rows: also where it was finalized before, or has long been gone, with its table perhaps.
func (k *client) finalize(ctx context.Context, stream string) error {
	if stream == "" {
		return nil
	}
	ctx, err := k.call(ctx, "name", stream)
	if err != nil {
		return err
	}
	_, err = k.write.FinalizeWriteStream(ctx, &storagepb.FinalizeWriteStreamRequest{Name: stream})
	if s, _ := status.FromError(err); s.Code() == codes.NotFound || storageCode(s) == storagepb.StorageError_STREAM_FINALIZED {
		return nil
	}
	return err
}

// defaultStream takes rows at least once, without offsets.
func (d dataset) defaultStream(id string) string { return d.path(id) + "/streams/_default" }

// appends is a connection to one stream.
type appends struct {
	client storagepb.BigQueryWrite_AppendRowsClient
	end    context.CancelFunc
	schema *storagepb.ProtoSchema
	stream string
	begun  bool
}

func (k *client) appends(ctx context.Context, stream string, columns []column) (*appends, error) {
	ctx, end := context.WithCancel(ctx)
	called, err := k.call(ctx, "write_stream", stream)
	if err != nil {
		end()
		return nil, err
	}
	c, err := k.write.AppendRows(called)
	if err != nil {
		end()
		return nil, err
	}
	return &appends{client: c, end: end, schema: message(columns), stream: stream}, nil
}

// send appends rows, at an offset unless that is negative: all of them or none.
func (a *appends) send(rows [][]byte, offset int64) error {
	data := &storagepb.AppendRowsRequest_ProtoData{Rows: &storagepb.ProtoRows{SerializedRows: rows}}
	request := &storagepb.AppendRowsRequest{WriteStream: a.stream, TraceId: "tributary", Rows: &storagepb.AppendRowsRequest_ProtoRows{ProtoRows: data}}
	if offset >= 0 {
		request.Offset = wrapperspb.Int64(offset)
	}
	if !a.begun { // one schema a connection, in its first request
		data.WriterSchema, a.begun = a.schema, true
	}
	if err := a.client.Send(request); err != nil && err != io.EOF {
		return err
	} // io.EOF: Recv says why
	answer, err := a.client.Recv()
	if err == io.EOF {
		return status.Error(codes.Unavailable, "the stream ended")
	}
	if err != nil {
		return err
	}
	if bad := answer.GetRowErrors(); len(bad) > 0 {
		return &table.RowError{Reason: "BigQuery does not accept the payload as JSON, or a value of it for its column (" + bad[0].GetCode().String() + ")"}
	}
	if answer.GetError() != nil {
		return status.ErrorProto(answer.GetError())
	}
	if at := answer.GetAppendResult().GetOffset(); offset >= 0 && at != nil && at.GetValue() != offset {
		return status.Error(codes.Internal, "the rows lie elsewhere")
	}
	return nil
}

// close ends the connection and waits for its end, so that nothing of it is left.
func (a *appends) close() {
	_ = a.client.CloseSend()
	a.end()
	for {
		if _, err := a.client.Recv(); err != nil {
			return
		}
	}
}

// chunks gathers encoded rows into requests of the write API and sends each as it is full.
type chunks struct {
	to     *appends
	writer *writer // nil: no offsets
	rows   [][]byte
	marks  []int64 // ordinals
	bytes  int
}

func (c *chunks) add(row []byte, ordinal int64) error {
	if len(c.rows) > 0 && c.bytes+len(row) > maxRequest {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.rows, c.marks, c.bytes = append(c.rows, row), append(c.marks, ordinal), c.bytes+len(row)+8
	return nil
}

func (c *chunks) flush() error {
	if len(c.rows) == 0 {
		return nil
	}
	offset := int64(-1)
	if c.writer != nil {
		offset = c.writer.offset
	}
	if err := c.to.send(c.rows, offset); err != nil {
		return err
	}
	if w := c.writer; w != nil {
		w.offset += int64(len(c.rows))
		for _, ordinal := range c.marks {
			w.there[ordinal] = struct{}{}
		}
	}
	c.rows, c.marks, c.bytes = nil, nil, 0
	return nil
}

// vanished says that a table or a dataset is not where it was.
func vanished(err error) bool {
	s, _ := status.FromError(err)
	return isStatus(err, http.StatusNotFound) || s.Code() == codes.NotFound
}
