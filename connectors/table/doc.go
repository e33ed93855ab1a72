// Package table holds what the destinations that write rows have in common: which table a record goes to, which record of a
// key wins, which columns a payload needs, and the loop that makes a batch take effect once by a ledger row that moves in the
// transaction of the rows.
//
// # What a database gives
//
// A destination calls Write with Options and a Store. Everything that is the same everywhere happens here: records are checked,
// routed, gathered into statements, halved until a row that the database refuses is found. The database's own part is
//
//   - Options.Limits, the size of its statements and names;
//   - Options.Dialect, what its columns can hold and how it compares names;
//   - Store.Prepare, which makes the tables with the columns of the metadata (_installation, _stream, _id, _key, _op, _version,
//     in mode upsert _version_seen, _occurred_at, _received_at, _ordinal), in layout raw the column data besides, and the unique key:
//     (_installation, _stream, _id) in mode append; (_installation, _stream, _key) in mode upsert, for records without a key
//     (_installation, _stream, _id). Beside them stand Ledger and Rejections, in layout columns also Memory;
//   - Store.Begin, and a Tx that locks the ledger's row, takes rows in and commits;
//   - in layout columns, Tx.Columns and Store.Change, which read and change the columns of a table.
//
// # Layouts
//
// Tx.Insert knows no layouts: Rows has a list of columns and, row by row, the values for them. In layout raw that is the one column data with the
// payload's bytes; in layout columns it is every column that a field of the payload fills. So a dialect has one bulk path: the
// columns of the metadata, then Rows.Columns. An upsert sets all of Rows.Columns, to NULL where a payload has no such
// field, and leaves other columns alone.
//
// Layout columns gives each field at the top of a payload a column by its name, made with the type of the first value that is not null. The
// types are those that JSON has: Boolean, Integer (64 bits), Decimal (never a float), Text, JSON for objects, arrays and all that the others
// don't hold. A value that its column does not hold widens it, to what Widen says: integer to decimal, anything else to JSON. A column
// that can't be widened, because the operator made it, the database has no such change (Dialect.Widens), or something depends on it (KeptError),
// stays; a second column, Side, takes what does not fit. A payload that is no object goes whole into _data.
//
// Which field a column holds, and what type it was made with, is written into the table Memory, so that names that had to be
// changed (too long, taken, reserved, the same but for their case) stay with their field, and so that a column
// of the operator's is told from one of ours: ours is one whose type is still the type that Memory says. Nobody else's column is ever altered.
//
// # Changing columns
//
// A transaction that holds a ledger row never changes a table: some databases commit at each change, and locks would be taken in an order that
// deadlocks. When a statement needs a change, its transaction is rolled back, Store.Change makes it in one of its own, and the
// statement begins anew with what it then finds. Tx.Columns must see to it that the columns stay as it found them until the transaction ends:
// a column that comes meanwhile would keep old values in rows that an upsert replaces. Store.Change looks again at what is there,
// under a lock, and does only what Pending leaves.
package table
