package duckdb

import (
	"context"
	"errors"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

// opening explains why a file can't be opened.
func opening(path string, err error) *connectors.Error {
	e := &connectors.Error{Kind: connectors.Unavailable, Op: "open " + path, Err: err}
	text := err.Error()
	switch {
	case strings.Contains(text, "Could not set lock"):
		e.Message = "another process has the file open: DuckDB allows one. Stop it, or set another path"
	case strings.Contains(text, "Permission denied") || strings.Contains(text, "Read-only file system"):
		e.Kind, e.Message = connectors.Forbidden, "the worker may not write this file: change its owner or rights"
	case strings.Contains(text, "not a valid DuckDB database file") || strings.Contains(text, "newer version of DuckDB"):
		e.Kind, e.Message = connectors.Invalid, "this is no DuckDB file, or one of a newer version: set another path"
	default:
		e.Message = connectors.Clip(text, 400)
	}
	return e
}

// failed turns what DuckDB returned into an *Error. DuckDB's own message is repeated only where it can't quote a row (I7).
func failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return connectors.AsError(op, err)
	}
	var d *duckdb.Error
	if !errors.As(err, &d) {
		return &connectors.Error{Kind: connectors.Unknown, Op: op, Message: "the database failed", Err: err}
	}
	e = &connectors.Error{Kind: connectors.Unknown, Op: op, Message: connectors.Clip(d.Msg, 400), Err: err}
	switch d.Type {
	default: // an error of no type may be any
		e.Message = "the database failed"
	case duckdb.ErrorTypeInterrupt:
		e.Kind, e.Message = connectors.Unavailable, "timed out or cancelled"
	case duckdb.ErrorTypeInternal, duckdb.ErrorTypeSyntax, duckdb.ErrorTypeParser, duckdb.ErrorTypeNotImplemented:
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeOutOfMemory, duckdb.ErrorTypeTransaction, duckdb.ErrorTypeFatal, duckdb.ErrorTypeConnection:
		e.Kind = connectors.Unavailable
	case duckdb.ErrorTypeCatalog: // a table vanished: the next attempt makes it again
		e.Kind = connectors.Unavailable
	case duckdb.ErrorTypePermission:
		e.Kind = connectors.Forbidden
	case duckdb.ErrorTypeBinder, duckdb.ErrorTypeDependency:
		e.Kind = connectors.Invalid
	}
	if inRow(d) {
		e.Kind, e.Message = connectors.Invalid, reason(d)
	}
	return e
}

// failed also sees to it that the next attempt starts from what there is: tables that vanished, a handle that broke.
func (s *store) failed(op string, err error) error {
	var d *duckdb.Error
	if errors.As(err, &d) {
		switch d.Type {
		case duckdb.ErrorTypeFatal, duckdb.ErrorTypeInternal:
			s.file.drop()
		case duckdb.ErrorTypeCatalog, duckdb.ErrorTypeBinder:
			s.file.forget()
		}
	}
	return failed(op, err)
}

// refused is failed for statements that carry rows: an error that lies in a row is a *table.RowError.
func (s *store) refused(op string, err error) error {
	var d *duckdb.Error
	if errors.As(err, &d) && inRow(d) {
		return &table.RowError{Reason: reason(d)}
	}
	return s.failed(op, err)
}

func inRow(d *duckdb.Error) bool {
	switch d.Type {
	case duckdb.ErrorTypeConversion, duckdb.ErrorTypeConstraint, duckdb.ErrorTypeInvalidInput, duckdb.ErrorTypeOutOfRange:
		return true
	}
	return false
}

// reason says why a row was refused in words of our own: the database's message quotes it.
func reason(d *duckdb.Error) string {
	switch d.Type {
	case duckdb.ErrorTypeConversion, duckdb.ErrorTypeInvalidInput:
		return "DuckDB does not accept the payload as JSON, or a value of it for its column"
	case duckdb.ErrorTypeConstraint:
		return "it breaks a constraint that was added to the table"
	}
	return "a value is out of the range of its column"
}
