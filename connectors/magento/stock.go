package magento

import (
	"cmp"
	"context"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// stock reads a page of quantities. Nothing says when one changed, so that each poll reads all of them. A quantity is a record without a version, and
// its ID is that of its content: what is as it was in the poll before is recognised (I6). What is as it was in an earlier one has changed twice, and
// the page's Seen has the engine tell it from then (I1).
func (s *source) stock(ctx context.Context, op string, st stream, c cursor, limit int) (connectors.Page, error) {
	f, err := s.find(ctx, op, st, stockBehind(c.Stock, limit))
	if err != nil {
		return connectors.Page{}, err
	}
	page := connectors.Page{More: !f.whole(), Seen: time.UnixMicro(c.Began).UTC()}
	for _, item := range f.items {
		record, at, err := readQuantity(op, st, item, f.slice(item))
		if err != nil {
			return connectors.Page{}, err
		}
		if at == c.Stock {
			return connectors.Page{}, connectors.Errorf(connectors.Invalid, op,
				"a quantity comes twice, so that reading on would never end: does an extension change how the shop filters and sorts?")
		}
		c.Stock = at
		page.Records = append(page.Records, record)
	}
	page.OverlapFrom = time.UnixMicro(cmp.Or(c.Before, c.Began)).UTC()
	if !page.More {
		page.OverlapFrom = page.Seen
		c = cursor{V: cursorVersion, Before: c.Began}
	}
	page.Cursor = c.encode()
	return page, nil
}

func readQuantity(op string, st stream, item gjson.Result, data []byte) (connectors.Record, stockPlace, error) {
	sku, source := item.Get("sku"), item.Get("source_code")
	at := stockPlace{SKU: sku.String(), Source: source.String()}
	// A source's code has no slash: what is behind the first one is the SKU.
	key := at.Source + "/" + at.SKU
	if sku.Type != gjson.String || source.Type != gjson.String || at.SKU == "" || at.Source == "" || len(key) > connectors.MaxIDBytes {
		return connectors.Record{}, at, connectors.Errorf(connectors.Invalid, op, "a quantity has no sku or no source_code, or they are too long")
	}
	return connectors.Record{
		ID:     connectors.RecordID(st.name, key, 0, data),
		Stream: st.name, Key: key, Op: connectors.Upsert, Data: data,
	}, at, nil
}
