package engine

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"time"
	"unicode/utf8"
)

// ReadRows runs a query and turns its values into ones that JSON has.
func ReadRows(ctx context.Context, query Query, q QueryRequest) (Rows, error) {
	columns, rows, err := query(ctx, q.Path, q.SQL, q.Limit)
	if err != nil {
		return Rows{}, err
	}
	out := Rows{Columns: columns, Rows: make([][]any, len(rows))}
	for i, row := range rows {
		out.Rows[i] = make([]any, len(row))
		for j, v := range row {
			out.Rows[i][j] = plainValue(v)
		}
	}
	return out, nil
}

// plainValue loses nothing: numbers keep their digits, times their microseconds.
func plainValue(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int8, int16, int32, int64, int, uint8, uint16, uint32, uint64:
		return v
	case float32:
		return plainValue(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case *big.Int:
		return json.Number(v.String())
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return `\x` + hex.EncodeToString(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainValue(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plainValue(v[k])
		}
		return out
	}
	return fmt.Sprint(v)
}
