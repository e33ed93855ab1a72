package bigquery

import (
	"fmt"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"tributary/connectors/table"
)

// Rows go to the Storage Write API as protocol buffers whose message type is sent along: https://cloud.google.com/bigquery/docs/write-api#data_type_conversions

// column of a table, as the REST API has it.
type column struct {
	name, kind string
	required   bool
}

// wireTypes are those in which values of BigQuery's types come. A TIMESTAMP is microseconds; decimals and JSON come as text.
var wireTypes = map[string]descriptorpb.FieldDescriptorProto_Type{
	"BOOLEAN":   descriptorpb.FieldDescriptorProto_TYPE_BOOL,
	"INTEGER":   descriptorpb.FieldDescriptorProto_TYPE_INT64,
	"TIMESTAMP": descriptorpb.FieldDescriptorProto_TYPE_INT64,
}

// message is the type of rows of some columns. Fields are named by number and annotated with the column, whose name may be no identifier.
func message(columns []column) *storagepb.ProtoSchema {
	m := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, c := range columns {
		kind, ok := wireTypes[c.kind]
		if !ok {
			kind = descriptorpb.FieldDescriptorProto_TYPE_STRING
		}
		options := &descriptorpb.FieldOptions{}
		proto.SetExtension(options, storagepb.E_ColumnName, c.name)
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fmt.Sprintf("f%d", i+1)), Number: proto.Int32(int32(i + 1)), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Options: options,
		})
	}
	return &storagepb.ProtoSchema{ProtoDescriptor: m}
}

// appendRow appends the message of a row: one value a column, nil for null.
func appendRow(b []byte, values []any) []byte {
	for i, v := range values {
		field := protowire.Number(i + 1)
		switch v := v.(type) {
		case nil:
		case bool:
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), protowire.EncodeBool(v))
		case int64:
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
		case time.Time:
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v.UnixMicro()))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
		}
	}
	return b
}

// timestamp is nil for what no calendar of BigQuery's holds.
func timestamp(t time.Time) any {
	if t, ok := table.Time(t); ok {
		return t
	}
	return nil
}
