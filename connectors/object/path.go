package object

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
	"tributary/connectors/template"
)

// defaultPath is understood as partitions by whatever reads folders as Hive lays them out: Athena, BigQuery, DuckDB, Spark, Trino.
const defaultPath = "stream={stream}/date={date}"

var variables = []string{"stream", "integration", "user", "installation", "date", "year", "month", "day", "hour"}

// timeLayouts are how the variables that are times are written, in UTC.
var timeLayouts = map[string]string{"date": "2006-01-02", "year": "2006", "month": "01", "day": "02", "hour": "15"}

const (
	// maxValue bounds in bytes what a variable stands for, and lane and epoch in a name. A longer value is cut and ends in a hash of the whole.
	maxValue = 128
	// maxKey is the longest name of an object, in bytes, of S3 and of GCS.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html https://cloud.google.com/storage/docs/objects#naming
	maxKey = 1024
	// ordinalDigits are those of the greatest ordinal, so that names sort as ordinals do.
	ordinalDigits = 19
	// maxName is the longest name within a folder: lane, epoch, ordinal, ending.
	maxName = 2*(maxValue+1) + ordinalDigits + len(".ndjson.zst")
)

// path is a template of a folder's name.
type path struct {
	template template.Template
	// fixed is what all folders begin with.
	fixed string
	// keys are the columns that readers take from the names of folders, in lower case.
	keys map[string]bool
}

// parsePath reads a template such as "raw/stream={stream}/date={date}"; "" means defaultPath.
func parsePath(s string) (path, error) {
	s = strings.Trim(s, "/")
	if s == "" {
		s = defaultPath
	}
	invalid := func(format string, args ...any) (path, error) {
		return path{}, connectors.Errorf(connectors.Invalid, "settings", "path %q: "+format, append([]any{s}, args...)...)
	}
	p := path{keys: make(map[string]bool)}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || strings.Trim(segment, ".") == "" {
			return invalid("a folder's name is empty or made of dots only")
		}
		if key, _, found := strings.Cut(segment, "="); found {
			p.keys[strings.ToLower(key)] = true
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`\#?*[]^"`, r) }) || strings.Contains(s, "__0x") {
		return invalid(`want no control characters and none of \ # ? * [ ] ^ "`)
	}
	var err error
	if p.template, err = template.Parse("path", s, variables...); err != nil {
		return path{}, err
	}
	longest := p.template.Expand(func(variable string) string {
		return strings.Repeat("x", cmp.Or(len(timeLayouts[variable]), maxValue))
	})
	if len(longest)+1+maxName > maxKey {
		return invalid("names of objects could become longer than %d bytes: use fewer variables or less text", maxKey)
	}
	if text, fixed := p.template.Fixed(); fixed {
		p.fixed = text + "/"
	} else {
		p.fixed, _, _ = strings.Cut(s, "{")
	}
	return p, nil
}

// folder is where a record's object lies. It depends on nothing that could be otherwise when the record comes again (I3): the time is
// when the record reached us, not when it is written.
func (p path) folder(b *connectors.Batch, r *connectors.Record) string {
	t, dated := table.Time(r.ReceivedAt.UTC())
	return p.template.Expand(func(variable string) string {
		layout := timeLayouts[variable]
		switch {
		case layout == "":
			return partitionValue(template.Value(b, r, variable))
		case dated:
			return t.Format(layout)
		}
		return partitionValue("")
	}) + "/"
}

// series is what the names of a lane's objects in a folder have in common. What follows is an ordinal and the ending.
func series(folder string, b *connectors.Batch) string {
	return folder + escape(b.Lane, ".") + "." + escape(b.Epoch, ".") + "."
}

// numbered is the part of a name that says where the object's records begin.
func numbered(ordinal int64) string { return fmt.Sprintf("%0*d", ordinalDigits, ordinal) }

// partitionValue is a value as Hive writes it into the name of a folder.
func partitionValue(s string) string {
	if s == "" {
		return "__HIVE_DEFAULT_PARTITION__"
	}
	if strings.Trim(s, ".") == "" {
		return escape(s, ".") // no folder is "." or ".."
	}
	return escape(s, "")
}

// escape percent-encodes what Hive does in names of partitions, and what object stores or their tools take badly: control characters,
// blanks, quotes, the beginnings of gocloud.dev's own escapes, and the characters of more.
// https://github.com/apache/hive/blob/master/common/src/java/org/apache/hadoop/hive/common/FileUtils.java
func escape(s, more string) string {
	var e strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte("\"#%'*/:=?\\{}[]^`<>|&$;,", c) >= 0 || strings.IndexByte(more, c) >= 0 || strings.HasPrefix(s[i:], "__0x") {
			fmt.Fprintf(&e, "%%%02X", c)
		} else {
			e.WriteByte(c)
		}
	}
	whole := e.String()
	if len(whole) <= maxValue {
		return whole
	}
	sum := sha256.Sum256([]byte(s))
	suffix := "~" + hex.EncodeToString(sum[:8])
	return partialEscape.ReplaceAllString(connectors.Clip(whole, maxValue-len(suffix)), "") + suffix
}

// partialEscape is an escape that was cut off.
var partialEscape = regexp.MustCompile(`%[0-9A-F]?$`)

var bucketRule = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// checkBucket sees to it that the name can't lead a request to another host.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html https://cloud.google.com/storage/docs/buckets#naming
func checkBucket(name string) error {
	if name == "" {
		return connectors.Errorf(connectors.Invalid, "settings", "no bucket: name it in the block's settings or in the connection")
	}
	if !bucketRule.MatchString(name) {
		return connectors.Errorf(connectors.Invalid, "settings", "bucket %q: want its name, of lower-case letters, digits, dots, dashes and underscores", connectors.Clip(name, 100))
	}
	return nil
}
