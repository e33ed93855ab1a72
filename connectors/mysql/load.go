package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
)

// Many rows go by LOAD DATA LOCAL: those of mode append straight into their table, those of mode upsert into a temporary one, the stage, since LOAD DATA
// can't look at the rows that are there. With LOCAL a server makes warnings of errors: it cuts values and leaves rows out. So whatever it
// warns of, a duplicate too, undoes the load, and the rows go by INSERT, which is strict.

const (
	stage     = "_tributary_stage"
	savepoint = "_tributary_load"
)

// lines makes the lines of rows as they are read.
type lines struct {
	speller *speller
	next    int
	buffer  []byte
	at      int
}

var _ io.Reader = (*lines)(nil)

func (l *lines) Read(p []byte) (int, error) {
	for l.at == len(l.buffer) {
		if l.next == len(l.speller.rows.List) {
			return 0, io.EOF
		}
		l.buffer, l.at = l.buffer[:0], 0
		for len(l.buffer) < len(p) && l.next < len(l.speller.rows.List) {
			l.buffer = l.speller.line(l.buffer, l.next)
			l.next++
		}
	}
	n := copy(p, l.buffer[l.at:])
	l.at += n
	return n, nil
}

func (t *ledgerTx) takesLoads() bool {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return t.local && !t.pool.noLoads
}

// load takes the rows in; false where INSERT has to.
func (i *insertion) load(ctx context.Context) (done bool, err error) {
	for _, r := range i.rows.List {
		if len(r.Data) > i.packet/2 { // nobody could read what INSERT, in its literals, could not write
			return false, nil
		}
	}
	if i.batch.Mode == connectors.Append {
		if _, err := i.conn.ExecContext(ctx, "SAVEPOINT "+savepoint); err != nil {
			return false, i.pool.failed("load rows", err)
		}
		clean, err := i.loadInto(ctx, i.into, "IGNORE ")
		if err != nil || clean {
			return clean, err
		}
		if _, err := i.conn.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+savepoint); err != nil {
			return false, i.pool.failed("load rows", err)
		}
		return false, nil
	}
	if _, err := i.conn.ExecContext(ctx, i.createStage()); err != nil {
		return false, i.unableTo(err)
	}
	clean, err := i.loadInto(ctx, stage, "")
	if err == nil && clean {
		names := strings.Join(i.names, ", ")
		_, err = i.conn.ExecContext(ctx, "INSERT INTO "+i.into+" ("+names+") SELECT "+names+" FROM "+stage+i.pool.dialect.alias+i.conflict)
		if err != nil {
			err = i.refused(err)
		}
	}
	if err != nil {
		discardStage(ctx, i)
		return false, err
	}
	if _, err := i.conn.ExecContext(ctx, "DROP TEMPORARY TABLE "+stage); err != nil {
		return false, i.pool.failed("drop stage", err)
	}
	return clean, nil
}

// loadInto loads the rows and tells whether the server had nothing to say against any.
func (i *insertion) loadInto(ctx context.Context, into, how string) (clean bool, err error) {
	// Whoever knows the name of a reader gets what it reads, and a server may ask for any: so it can't be guessed.
	name := rand.Text()
	mysql.RegisterReaderHandler(name, func() io.Reader { return &lines{speller: newSpeller(i.batch, i.rows, len(i.columns))} })
	defer mysql.DeregisterReaderHandler(name)
	done, err := i.conn.ExecContext(ctx, "LOAD DATA LOCAL INFILE 'Reader::"+name+"' "+how+"INTO TABLE "+into+
		` CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' (`+strings.Join(i.names, ", ")+")")
	if err != nil {
		return false, i.unableTo(err)
	}
	var warnings int
	if err := i.conn.QueryRowContext(ctx, "SELECT @@warning_count").Scan(&warnings); err != nil {
		return false, i.pool.failed("load rows", err)
	}
	n, err := done.RowsAffected()
	return err == nil && warnings == 0 && n == int64(len(i.rows.List)), nil
}

// unableTo notes, and is nil, where the server or the user's rights want no loads, so that INSERT does it from now on.
func (i *insertion) unableTo(err error) error {
	var e *mysql.MySQLError
	if errors.As(err, &e) && (slices.Contains(loadsRefused, e.Number) || kindOf(e) == connectors.Forbidden) {
		i.pool.mu.Lock()
		defer i.pool.mu.Unlock()
		i.pool.noLoads = true
		return nil
	}
	if errors.As(err, &e) && inRow(e) { // INSERT finds out which
		return nil
	}
	return i.pool.failed("load rows", err)
}

// createStage makes columns of the names and types that the rows have in their table, but for those of payloads: what a text is in its column is
// decided when it comes there.
func (i *insertion) createStage() string {
	var of strings.Builder
	for _, c := range append(slices.Clone(metadataColumns), seenColumn) {
		of.WriteString(", " + c.name + " " + c.kind + c.rest)
	}
	for _, c := range i.columns {
		of.WriteString(", " + quote(c.Name) + " longtext")
	}
	return "CREATE TEMPORARY TABLE " + stage + " (" + of.String()[2:] + ") ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE " + i.pool.dialect.collation
}

// discardStage drops the stage, with its connection where that fails.
func discardStage(ctx context.Context, i *insertion) {
	if _, err := i.conn.ExecContext(ctx, "DROP TEMPORARY TABLE IF EXISTS "+stage); err != nil {
		discard(i.conn)
	}
}
