package object

import (
	"bufio"
	"context"
	"strconv"

	"gocloud.dev/blob"
)

// put writes the portion's records as one object that ends at an ordinal, streaming, unless there is one of that name. Nothing is to be seen of an object until
// it is whole.
func (d *destination) put(ctx context.Context, key string, p *portion, end int64) (exists bool, err error) {
	// Closing a writer finishes the object, except when its context has ended before.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	size := 0
	for _, i := range p.records {
		size += len(p.batch.Records[i].Data) + 512
	}
	w, err := d.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		IfNotExist:                  true, // S3: If-None-Match: *, GCS: ifGenerationMatch=0
		BufferSize:                  min(size, partBytes),
		ContentType:                 d.format.contentType,
		DisableContentTypeDetection: true,
		Metadata: map[string]string{
			metaFirst:   strconv.FormatInt(p.ordinal(0), 10),
			metaNext:    strconv.FormatInt(end, 10),
			metaRecords: strconv.Itoa(len(p.records)),
		},
		BeforeWrite: d.account.writing(false),
	})
	if err == nil {
		// The upload reads while the next block is encoded.
		buffered := bufio.NewWriterSize(w, blockBytes)
		if err = d.format.encode(buffered, p); err == nil {
			err = buffered.Flush()
		}
		if err != nil {
			cancel()
			w.Close()
		} else {
			err = w.Close()
		}
	}
	switch {
	case err == nil:
		return false, nil
	case d.account.unmet(err):
		return true, nil
	}
	return false, d.account.failed(uploading, d.name, err)
}
