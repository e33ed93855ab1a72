package table

import "tributary/connectors"

// Which record of a key a table keeps (I5). A row knows the version of its record and the greatest version that its key was ever
// seen with. A record
//
//   - of an unknown version (0) wins: it is the later arrival;
//   - of a greater version than any seen wins;
//   - of the greatest version seen wins, as the later arrival, over a record of that same version: not over one of an unknown version,
//     which came after it.
//
// So a deletion that the app sends without a version is not undone by a late copy of what was deleted.

// Wins applies the rule to a row of version and seen. Databases apply it in SQL: `r.version = 0 OR r.version > seen OR (r.version = seen AND seen = version)`.
func Wins(r *connectors.Record, version, seen int64) bool {
	return r.Version == 0 || r.Version > seen || r.Version == seen && seen == version
}

type identity struct{ stream, key, id string }

func newRows(p *plan, mode connectors.Mode, n int) *Rows {
	return &Rows{Table: p.table, List: make([]Row, 0, n), mode: mode, at: make(map[identity]int, n), plan: p}
}

// add takes a record in. It returns false where only the database can tell what the record does to its key, because what
// came before depends on the row that is there: then the statement must end before it.
func (s *Rows) add(r *connectors.Record) bool {
	id := identity{r.Stream, r.Key, ""}
	if s.mode == connectors.Append || r.Key == "" {
		id = identity{r.Stream, "", r.ID}
	}
	at, again := s.at[id]
	if !again {
		s.at[id] = len(s.List)
		s.List = append(s.List, Row{r, r.Version})
		return true
	}
	if s.mode == connectors.Append {
		return true // the same change twice
	}
	row := &s.List[at]
	if !Wins(r, row.Version, row.Seen) {
		return true // also if the row there has seen still more
	}
	if row.Version == 0 && r.Version != 0 {
		return false // wins over what is here, perhaps not over what is there
	}
	*row = Row{r, max(row.Seen, r.Version)}
	return true
}
