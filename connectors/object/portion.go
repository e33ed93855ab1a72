package object

import (
	"fmt"
	"time"
	"unicode/utf8"

	"tributary/connectors"
)

// portion is the records that a batch has for one folder.
type portion struct {
	batch   *connectors.Batch
	folder  string
	records []int // indexes into the batch
}

// ordinal is that of the portion's i-th record.
func (p *portion) ordinal(i int) int64 { return p.batch.Records[p.records[i]].Ordinal }

// portions divides a batch by folder, in the order of each folder's first record, and rejects what no file can hold (I4).
func (d *destination) portions(b *connectors.Batch, result *connectors.Result) []*portion {
	// A record's folder depends on nothing but these.
	type class struct {
		stream string
		hour   time.Time
	}
	var all []*portion
	byClass, byFolder := make(map[class]*portion), make(map[string]*portion)
	for i := range b.Records {
		r := &b.Records[i]
		if reason := unfit(r); reason != "" {
			result.Reject(i, reason)
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

// unfit says why no file can hold the record; "" where nothing is wrong with it.
func unfit(r *connectors.Record) string {
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
	return ""
}
