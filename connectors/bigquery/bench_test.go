package bigquery_test

import (
	"context"
	"strings"
	"testing"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"tributary/connectors"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
)

// BenchmarkWrite compares the destination with its floor on the same server: the same rows appended to the default stream in requests of 9 MB by hand, with
// nothing that would notice a second time.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) {
			d := opened(b, bigquerytest.New(b, returned), mode)
			connectortest.BenchDestination(b, d, mode, 20_000)
		})
	}
}

func benchFloor(b *testing.B) {
	s := bigquerytest.New(b, returned)
	d := opened(b, s, connectors.Append)
	if _, err := d.Write(context.Background(), connectortest.Batch(connectors.Append, "products", 0, 1)); err != nil { // makes the table
		b.Fatal(err)
	}
	conn, err := grpc.NewClient(s.Write, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	table := "projects/" + bigquerytest.Project + "/datasets/" + bigquerytest.Dataset + "/tables/products"
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer token", "x-goog-request-params", "write_stream="+strings.ReplaceAll(table, "/", "%2F"))
	m := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, name := range []string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_occurred_at", "_received_at", "_ordinal", "_epoch", "_lane", "data"} {
		kind := descriptorpb.FieldDescriptorProto_TYPE_STRING
		if i >= 5 && i <= 8 {
			kind = descriptorpb.FieldDescriptorProto_TYPE_INT64
		}
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(int32(i + 1)), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()})
	}
	connectortest.BenchProducts(b, connectors.Append, 20_000, func(batch connectors.Batch) {
		records := batch.Records
		call, err := storagepb.NewBigQueryWriteClient(conn).AppendRows(ctx)
		if err != nil {
			b.Fatal(err)
		}
		var rows [][]byte
		size, first := 0, true
		flush := func() {
			data := &storagepb.AppendRowsRequest_ProtoData{Rows: &storagepb.ProtoRows{SerializedRows: rows}}
			if first {
				data.WriterSchema, first = &storagepb.ProtoSchema{ProtoDescriptor: m}, false
			}
			if err := call.Send(&storagepb.AppendRowsRequest{WriteStream: table + "/streams/_default", Rows: &storagepb.AppendRowsRequest_ProtoRows{ProtoRows: data}}); err != nil {
				b.Fatal(err)
			}
			if answer, err := call.Recv(); err != nil || answer.GetError() != nil {
				b.Fatal(err, answer.GetError())
			}
			rows, size = nil, 0
		}
		for _, r := range records {
			var row []byte
			for i, v := range []any{"i/ada", r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.OccurredAt.UnixMicro(), r.ReceivedAt.UnixMicro(), r.Ordinal, "epoch", "warehouse", string(r.Data)} {
				switch v := v.(type) {
				case string:
					row = protowire.AppendString(protowire.AppendTag(row, protowire.Number(i+1), protowire.BytesType), v)
				case int64:
					row = protowire.AppendVarint(protowire.AppendTag(row, protowire.Number(i+1), protowire.VarintType), uint64(v))
				}
			}
			rows, size = append(rows, row), size+len(row)
			if size > 9<<20 {
				flush()
			}
		}
		flush()
		_ = call.CloseSend()
	})
}
