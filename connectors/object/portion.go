package object

import (
	"bytes"
	"fmt"
	"runtime"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/connectors/table"
)

// portion is the records that a batch has for one folder.
type portion struct {
	batch   *connectors.Batch
	folder  string
	records []int       // indexes into the batch
	columns *table.File // of the payloads; nil in layout raw
}

// ordinal is that of the portion's i-th record.
func (p *portion) ordinal(i int) int64 { return p.batch.Records[p.records[i]].Ordinal }

// object is the part of the portion that goes into one object, from its first record, and the ordinal that it ends at. In layout columns a file
// has room for some columns only; where it ends depends on the records from its first one on alone, so that each attempt makes the same.
func (p *portion) object(dialect *table.Dialect) (object *portion, end int64) {
	if dialect == nil {
		return p, p.batch.Next
	}
	object = &portion{batch: p.batch, folder: p.folder, columns: table.NewFile(*dialect)}
	for n, i := range p.records {
		if !object.columns.Take(p.batch.Records[i].Data) {
			return object, p.ordinal(n)
		}
		object.records = p.records[:n+1]
	}
	return object, p.batch.Next
}

// portions divides a batch by folder, in the order of each folder's first record, and rejects what no file can hold (I4).
func (d *destination) portions(b *connectors.Batch, result *connectors.Result) []*portion {
	// A record's folder depends on nothing but these.
	type class struct {
		stream string
		hour   time.Time
	}
	var all []*portion
	byClass, byFolder := make(map[class]*portion), make(map[string]*portion)
	reasons := d.unfits(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		if reasons[i] != "" {
			result.Reject(i, reasons[i])
			continue
		}
		c := class{r.Stream, r.ReceivedAt.UTC().Truncate(time.Hour)}
		p := byClass[c]
		if p == nil {
			folder := d.path.folder(b, r)
			if p = byFolder[folder]; p == nil {
				p = &portion{batch: b, folder: folder}
				byFolder[folder] = p
				all = append(all, p)
			}
			byClass[c] = p
		}
		p.records = append(p.records, i)
	}
	return all
}

// unfits says of each record why no file can hold it. Reading all payloads takes as long as half of writing them, so the processors share it.
func (d *destination) unfits(records []connectors.Record) []string {
	const share = 2_000
	reasons := make([]string, len(records))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(records); from += share {
		group.Go(func() error {
			for i := from; i < min(from+share, len(records)); i++ {
				reasons[i] = d.unfit(&records[i])
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	return reasons
}

// unfit says why no file can hold the record; "" where nothing is wrong with it. It judges by the record alone, so that each attempt rejects
// the same.
func (d *destination) unfit(r *connectors.Record) string {
	switch {
	case r.ID == "":
		return "the record has no ID"
	case len(r.ID) > connectors.MaxIDBytes || len(r.Key) > connectors.MaxIDBytes:
		return fmt.Sprintf("the record's ID or key is longer than %d bytes", connectors.MaxIDBytes)
	case !utf8.ValidString(r.ID) || !utf8.ValidString(r.Key) || !utf8.ValidString(r.Stream):
		return "the record's ID, key or stream is not valid UTF-8"
	case len(r.Data) == 0:
		return ""
	}
	// The payload becomes part of a file of JSON as it is: one that is no JSON would spoil the file.
	if err := connectors.CheckPayload("payload", r.Data); err != nil {
		return err.Error()
	}
	if d.dialect != nil && bytes.Count(r.Data, []byte{':'}) > maxColumns/2 && !table.NewFile(*d.dialect).Take(r.Data) {
		return fmt.Sprintf("the payload has more fields than the %d columns that a file can have", maxColumns)
	}
	return ""
}
