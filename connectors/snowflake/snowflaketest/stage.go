package snowflaketest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"path"
	"strings"
)

// stagePath resolves @stage/path.
func (s *Server) stagePath(location string) (string, *Error) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(location, "@"), "/")
	ownStage := quoted(Database) + "." + quoted(Schema) + "." + quoted(Stage)
	external := quoted(Database) + "." + quoted(Schema) + "." + quoted(External)
	if !strings.HasPrefix(location, "@") || name != "~" && name != ownStage && name != external {
		return "", fail(missing, "SQL compilation error: Stage '%s' does not exist or not authorized.", name)
	}
	right := "WRITE ON STAGE"
	if name == external { // https://docs.snowflake.com/en/user-guide/security-access-control-privileges#stage-privileges
		right = "USAGE ON STAGE"
	}
	if e := s.need(right, "stage"); e != nil && name != "~" {
		return "", e
	}
	return path.Join(name, rest), nil
}

// externalPath is where in the bucket a path of the stage External is.
func externalPath(at string) (string, bool) {
	rest, ok := strings.CutPrefix(at, quoted(Database)+"."+quoted(Schema)+"."+quoted(External)+"/")
	return LakeFolder + rest, ok
}

// describeStage answers as https://docs.snowflake.com/en/sql-reference/sql/desc-stage
func (s *Server) describeStage(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	name := fullName(tokens[2].text, tokens[4].text, tokens[6].text)
	at, e := s.stagePath("@" + name)
	if e != nil {
		return nil, e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	location := ""
	if strings.Contains(at, quoted(External)) && s.lake != nil {
		location = `["` + s.lake.URL + `"]`
	}
	return answer(typeShow, []string{"parent_property", "property", "property_type", "property_value", "property_default"}, [][]*string{
		row("STAGE_FILE_FORMAT", "TYPE", "String", "CSV", "CSV"), row("STAGE_LOCATION", "URL", "String", location, ""), row("DIRECTORY", "ENABLE", "Boolean", "false", "false"),
	}), nil
}

func (s *Server) putCommand(_ context.Context, _ *session, tokens []token, _ *request, base string) (*answerData, *Error) {
	file, ok := strings.CutPrefix(tokens[1].text, "file://")
	if !ok {
		return nil, fail(syntax, "SQL compilation error: not a file")
	}
	at, e := s.stagePath(tokens[2].text)
	if e != nil {
		return nil, e
	}
	if strings.Contains(at, quoted(External)) {
		return nil, fail(externalStage, "SQL compilation error: PUT is not supported for external stages")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	signature := "signature-" + itoa(s.serial)
	s.uploads[signature] = at + "/" + path.Base(file)
	a := answer(0, nil, nil)
	a.Command, a.SrcLocations, a.SourceCompression, a.Overwrite, a.Parallel = "UPLOAD", []string{file}, "gzip", true, 1
	a.StageInfo = map[string]any{"locationType": "GCS", "location": at, "path": at, "presignedUrl": base + "/storage/" + signature, "creds": map[string]any{}}
	return a, nil
}

func (s *Server) listFiles(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	at, e := s.stagePath(tokens[1].text)
	if e != nil {
		return nil, e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]*string
	if at, external := externalPath(at); external && s.lake != nil && tokens[0].text == "LIST" {
		for _, name := range s.lake.names() {
			if strings.HasPrefix(name, at+"/") {
				rows = append(rows, row(strings.TrimSuffix(s.lake.URL, LakeFolder)+name, "1", "md5", "date"))
			}
		}
	}
	for name, data := range s.files {
		if strings.HasPrefix(name, at+"/") {
			rows = append(rows, row(name, itoa(int64(len(data))), "md5", "date"))
			if tokens[0].text == "REMOVE" {
				delete(s.files, name)
			}
		}
	}
	if tokens[0].text == "REMOVE" {
		for i := range rows {
			rows[i] = append(rows[i][:1], row("removed")...)
		}
		return answer(typeShow, []string{"name", "result"}, rows), nil
	}
	return answer(typeShow, []string{"name", "size", "md5", "last_modified"}, rows), nil
}

// maxValue is how large a VARIANT may be: https://docs.snowflake.com/en/user-guide/semistructured-considerations#data-size-limitations
const maxValue = 16 << 20

func (s *Server) copyInto(ctx context.Context, session *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	if e := s.needWarehouse(session); e != nil {
		return nil, e
	}
	t, e := s.find(session, tokens[2:7])
	if e != nil {
		return nil, e
	}
	at, e := s.stagePath(tokens[8].text)
	if e != nil {
		return nil, e
	}
	name := at + "/" + tokens[12].text
	s.mu.Lock()
	packed, ok := s.files[name]
	lake := s.lake
	s.mu.Unlock()
	if name, external := externalPath(name); external && lake != nil {
		packed, ok = lake.read(name)
	}
	if !ok {
		return nil, fail(noFile, "Remote file '%s' was not found.", name)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fail(noFile, "the file is not gzip: %v", err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, fail(noFile, "the file is cut: %v", err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if !json.Valid([]byte(line)) || len(line) > maxValue {
			return nil, fail(notJSON, "Error parsing JSON")
		}
		lines = append(lines, line)
	}
	s.mu.Lock()
	if s.lose && len(lines) > 0 {
		lines, s.lose = lines[:len(lines)-1], false
	}
	s.mu.Unlock()
	if e := s.write(ctx, session); e != nil {
		return nil, e
	}
	if err := fill(ctx, session.state.conn, t, lines); err != nil {
		return nil, fail(internalError, "%v", err)
	}
	if e := s.autocommit(session); e != nil {
		return nil, e
	}
	n := itoa(int64(len(lines)))
	return answer(typeCopy, []string{"file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen", "first_error", "first_error_line", "first_error_character", "first_error_column_name"},
		[][]*string{append(row(name, "LOADED", n, n, "1", "0"), nil, nil, nil, nil)}), nil
}
