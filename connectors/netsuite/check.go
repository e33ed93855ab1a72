package netsuite

import (
	"context"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Check proves the credentials and, where the streams are known, the right to read each and the queries themselves: by asking for a row that
// changed lately, which costs NetSuite little.
func (s *source) Check(ctx context.Context) error {
	const op = "check"
	body, err := s.call(ctx, op, "SELECT TO_CHAR(SYSDATE, '"+format+"') AS "+changedColumn+" FROM DUAL", 1)
	if err != nil {
		return err
	}
	s.compareClocks(body)
	for _, stream := range s.streams {
		req := connectors.FetchRequest{Stream: stream, Since: s.now().Add(-time.Hour), Limit: 1}
		for {
			page, err := s.Fetch(ctx, req)
			if err != nil {
				return err
			}
			c, err := s.cursor(op, connectors.FetchRequest{Cursor: page.Cursor})
			if err != nil {
				return err
			}
			if !page.More || len(page.Records) > 0 && c.Deleting {
				break
			}
			c.Deleting = true
			req.Cursor = c.encode()
		}
	}
	return nil
}

// compareClocks warns where NetSuite's clock reads otherwise in the block's time zone. It is no proof: the time of the database need not be in the
// zone of the user.
func (s *source) compareClocks(body []byte) {
	wall := gjson.GetBytes(body, "items.0."+changedColumn).Str
	if r, ok := read(wall, s.zone); ok && !r.twice && r.at.Sub(s.now()).Abs() > future {
		s.log.Warn("NetSuite's clock is another one in the setting time_zone: is it the zone in which NetSuite shows times to the user of the credentials?",
			"time_zone", s.zone.String(), "netsuite", wall, "now", s.now().In(s.zone).Format(layout))
	}
}
