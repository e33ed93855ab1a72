package redshift

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/klauspost/compress/gzip"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Rows go to S3 as lines of JSON, gzipped, in files of about fileBytes before compression, so that the slices of a cluster read some at once, and a manifest
// that names exactly those: https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html

const fileBytes = 16 << 20

// files is the bucket.
type files struct {
	client               *s3.Client
	bucket, prefix, role string
	region               string
	log                  *slog.Logger
}

// upload is the objects of a statement.
type upload struct {
	files    *files
	keys     []string // the data files first
	starts   []int    // by data file, its first row
	manifest string
}

// rowAt is the row in a line of a file, from 1 up; -1 where there is no such file. Redshift may tell only the beginning of a long name.
func (u *upload) rowAt(url string, line int) int {
	found := -1
	for i, start := range u.starts {
		if url != "" && strings.HasPrefix("s3://"+u.files.bucket+"/"+u.keys[i], url) {
			if found >= 0 {
				return -1
			}
			found = start + line - 1
		}
	}
	return found
}

// put writes the files and their manifest. Names are made of the lane, the first ordinal and what is in the file, and are written once: who writes
// one again finds the same bytes there.
func (f *files) put(ctx context.Context, e *encoder) (*upload, error) {
	u := &upload{files: f}
	first := e.rows.List[0].Ordinal
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is right
	type entry struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"`
	}
	var manifest struct {
		Entries []entry `json:"entries"`
	}
	size, start := 0, 0
	flush := func() error {
		if err := z.Close(); err != nil {
			return connectors.AsError("compress rows", err)
		}
		u.starts = append(u.starts, start)
		key, err := f.write(ctx, u, e.batch, first, b.Bytes(), "json.gz")
		manifest.Entries = append(manifest.Entries, entry{"s3://" + f.bucket + "/" + key, true})
		b.Reset()
		z.Reset(&b)
		return err
	}
	var line []byte
	names := e.stage.names()
	for i := range e.rows.List {
		row, err := e.row(i)
		if err != nil {
			return u, err
		}
		line = e.line(line[:0], names, row)
		if size > 0 && size+len(line) > fileBytes {
			if err := flush(); err != nil {
				return u, err
			}
			size, start = 0, i
		}
		size += len(line)
		if _, err := z.Write(line); err != nil {
			return u, connectors.AsError("compress rows", err)
		}
	}
	if err := flush(); err != nil {
		return u, err
	}
	list, err := json.Marshal(manifest)
	if err != nil {
		return u, connectors.AsError("write manifest", err)
	}
	u.manifest, err = f.write(ctx, u, e.batch, first, list, "manifest")
	return u, err
}

// write makes an object, unless there is one of its name, which is the same.
func (f *files) write(ctx context.Context, u *upload, b *connectors.Batch, first int64, content []byte, kind string) (string, error) {
	sum := sha256.Sum256(content)
	key := fmt.Sprintf("%s/%s/%020d-%s.%s", f.prefix, laneID(b), first, hex.EncodeToString(sum[:16]), kind)
	u.keys = append(u.keys, key)
	_, err := f.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &f.bucket, Key: &key, Body: bytes.NewReader(content), IfNoneMatch: aws.String("*"), ContentLength: aws.Int64(int64(len(content))),
	})
	if err != nil && !unmet(err) {
		return key, f.failed("write file", err)
	}
	return key, nil
}

// remove deletes the objects, also of a statement that failed: the next attempt writes them anew. What can't be deleted is left to a lifecycle rule.
func (u *upload) remove() {
	if len(u.keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list := make([]types.ObjectIdentifier, len(u.keys))
	for i := range u.keys {
		list[i].Key = &u.keys[i]
	}
	out, err := u.files.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &u.files.bucket, Delete: &types.Delete{Objects: list, Quiet: aws.Bool(true)}})
	switch {
	case err != nil:
		u.files.log.Warn("redshift: files of a load stay in the bucket", "bucket", u.files.bucket, "files", len(list), "error", u.files.failed("delete files", err))
	case len(out.Errors) > 0:
		u.files.log.Warn("redshift: files of a load stay in the bucket", "bucket", u.files.bucket, "files", len(out.Errors))
	}
}

// load is the statement that reads the files into a staging table. https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html
func (f *files) load(g *stage, manifest string) string {
	role := "default"
	if f.role != "default" {
		role = literal(f.role)
	}
	return "COPY " + quote(g.name) + " (" + strings.Join(g.names(), ", ") + ") FROM " + literal("s3://"+f.bucket+"/"+manifest) + " IAM_ROLE " + role +
		" REGION " + literal(f.region) + " MANIFEST FORMAT AS JSON 'auto' GZIP TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF"
}

// line appends a row as an object. Numbers are strings: as numbers some would be read as floating-point ones. What goes into a SUPER column stands as it is.
func (e *encoder) line(b []byte, names []string, row []*string) []byte {
	sep := byte('{')
	for j, v := range row {
		if v == nil {
			continue
		}
		b = append(append(append(b, sep, '"'), names[j]...), `":`...)
		sep = ','
		at := j - len(stagedColumns)
		switch {
		case at >= 0 && e.stage.stagedType(e.stage.columns[at]) == superType:
			b = appendCompact(b, *v)
		case at >= 0 && e.stage.columns[at].Type == table.Boolean:
			b = append(b, *v...)
		default:
			b = appendString(b, *v)
		}
	}
	return append(b, '}', '\n')
}

// appendString appends a JSON string. It escapes as little as it may.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// appendCompact appends a valid JSON value without the white space around its parts.
func appendCompact(b []byte, s string) []byte {
	inside := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case inside && c == '\\':
			b = append(b, c, s[i+1])
			i++
			continue
		case c == '"':
			inside = !inside
		case !inside && (c == ' ' || c == '\n' || c == '\r' || c == '\t'):
			continue
		}
		b = append(b, c)
	}
	return b
}
