package webhook_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// plain are settings that sign the body alone, followed by more settings.
func plain(more string) string {
	return `{"signature":{"header":"X-Sign"},` + more + `}`
}

func receive(t *testing.T, settings, body string, header ...string) ([]connectors.Record, error) {
	t.Helper()
	d := connectors.Delivery{Body: []byte(body), Header: http.Header{"X-Sign": {hexMAC("s", body)}}}
	for i := 0; i < len(header); i += 2 {
		d.Header.Add(header[i], header[i+1])
	}
	got, err := open(t, settings, "s", time.Time{}).Receive(t.Context(), d)
	return got.Records, err
}

func receiveOne(t *testing.T, settings, body string, header ...string) connectors.Record {
	t.Helper()
	records, err := receive(t, settings, body, header...)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if len(records) != 1 {
		t.Fatalf("%s: got %d records, want 1", body, len(records))
	}
	return records[0]
}

// TestPaths: names that mean something to the scanner are names here.
func TestPaths(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]string{
		`.a`:          `{"a":"found"}`,
		`.a.b.c`:      `{"a":{"b":{"c":"found"}}}`,
		`.a.1`:        `{"a":["no","found"]}`,
		`.\"a.b\".c`:  `{"a":{"b":{"c":"no"}},"a.b":{"c":"found"}}`,
		`.\"a[0] b\"`: `{"a[0] b":"found"}`,
		`.@type`:      `{"@type":"found"}`,
		`.@this.a`:    `{"a":"no","@this":{"a":"found"}}`,
		`.*`:          `{"x":"no","*":"found"}`,
		`.a?`:         `{"ab":"no","a?":"found"}`,
		`.#`:          `{"#":"found"}`,
		`.a|b`:        `{"a":{"b":"no"},"a|b":"found"}`,
		`.\"{a,b}\"`:  `{"a":"no","{a,b}":"found"}`,
		`.!a`:         `{"!a":"found"}`,
		`.é`:          `{"é":"found"}`,
		`.deep`:       `{"skip":{"deep":"no"},"deep":"found"}`,
		`.twice`:      `{"twice":"found","twice":"no"}`,
		`.text`:       `{"text":"f\u006fund"}`,
	} {
		if r := receiveOne(t, plain(`"stream":{"body":"`+path+`"}`), body); r.Stream != "found" {
			t.Errorf("%s in %s: got %q", path, body, r.Stream)
		}
	}
}

// TestFieldValues: what is no value leaves a field unknown or refuses the record, and numbers keep their digits.
func TestFieldValues(t *testing.T) {
	t.Parallel()
	settings := plain(`"stream":{"value":"s"},"key":{"body":".k"}`)
	for value, key := range map[string]string{
		`"a b"`: "a b", `12345678901234567890123`: "12345678901234567890123", `1.50`: "1.50", `null`: "", `""`: "", `"null"`: "null",
		`"` + strings.Repeat("k", 512) + `"`: strings.Repeat("k", 512),
	} {
		if r := receiveOne(t, settings, `{"k":`+value+`}`); r.Key != key {
			t.Errorf("%s: got key %q, want %q", value, r.Key, key)
		}
	}
	for value, part := range map[string]string{
		`true`: "neither text nor a number", `{}`: "neither text nor a number", `[1]`: "neither text nor a number",
		`"\u0000"`: "control character", `"a\nb"`: "control character", `"\ud800"`: "no text", `"\udfff\ud800"`: "no text",
		`"` + strings.Repeat("k", 513) + `"`: "longer than 512 bytes",
	} {
		_, err := receive(t, settings, `{"k":`+value+`}`)
		wantKind(t, err, connectors.Invalid, part)
	}
	_, err := receive(t, plain(`"stream":{"header":"X-Stream"}`), `{}`)
	wantKind(t, err, connectors.Invalid, "header X-Stream is missing")
	_, err = receive(t, plain(`"stream":{"header":"X-Stream"}`), `{}`, "X-Stream", "a", "X-Stream", "b")
	wantKind(t, err, connectors.Invalid, "more than once")
	_, err = receive(t, plain(`"stream":{"body":".s"},"type":{"body":".t"}`), `{}`)
	wantKind(t, err, connectors.Invalid, ".s and .t is missing")
}

// TestVersion: times become microseconds, counters stay, and what can't be read is refused, because a version that is
// unknown lets an older change win (I5).
func TestVersion(t *testing.T) {
	t.Parallel()
	const micro = 1772366400123456
	for _, c := range []struct {
		unit, value string
		want        int64
	}{
		{"", `7`, 7}, {"", `"7"`, 7}, {"", `-7`, -7}, {"", `9223372036854775807`, 9223372036854775807},
		{"", `"2026-03-01T12:00:00.123456Z"`, micro}, {"", `"2026-03-01T13:00:00.123456+01:00"`, micro}, {"", `"2026-03-01T12:00:00.123456"`, micro},
		{"", `null`, 0}, {"", `""`, 0},
		{"seconds", `1772366400`, 1772366400000000}, {"seconds", `1772366400.123456`, micro}, {"seconds", `"1772366400.123456"`, micro},
		{"milliseconds", `1772366400123`, 1772366400123000}, {"milliseconds", `1772366400123.456`, micro},
		{"microseconds", `1772366400123456`, micro}, {"seconds", `-1.5`, -1500000}, {"milliseconds", `-1500`, -1500000},
		{"seconds", `"2026-03-01T12:00:00.123456Z"`, micro},
	} {
		settings := plain(`"stream":{"value":"s"},"version":{"body":".v","unit":"` + c.unit + `"}`)
		if r := receiveOne(t, settings, `{"v":`+c.value+`}`); r.Version != c.want {
			t.Errorf("%s of %q: got %d, want %d", c.value, c.unit, r.Version, c.want)
		}
	}
	for unit, values := range map[string][]string{
		"":        {`1.5`, `9223372036854775808`, `"yesterday"`, `1e3`, `"2026-13-01T00:00:00Z"`, `true`, `"0x10"`, `"NaN"`},
		"seconds": {`1e300`, `9223372036854775807`, `-9223372036854775808`, `"NaN"`, `"-Inf"`, `"soon"`, `999999999999`},
	} {
		for _, value := range values {
			_, err := receive(t, plain(`"stream":{"value":"s"},"version":{"body":".v","unit":"`+unit+`"}`), `{"v":`+value+`}`)
			wantKind(t, err, connectors.Invalid, "version: .v is")
		}
	}
}

// TestOccurredAt: what is no time is unknown, and no reason to refuse a record.
func TestOccurredAt(t *testing.T) {
	t.Parallel()
	settings := plain(`"stream":{"value":"s"},"occurred_at":{"header":"X-At","unit":"milliseconds"}`)
	for value, want := range map[string]time.Time{
		"1772366400123": time.UnixMilli(1772366400123).UTC(), "2026-03-01T12:00:00+02:00": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"yesterday": {}, "": {}, "1e400": {}, "9e18": {},
	} {
		if r := receiveOne(t, settings, `{}`, "X-At", value); !r.OccurredAt.Equal(want) {
			t.Errorf("%q: got %v, want %v", value, r.OccurredAt, want)
		}
	}
}

// TestRecords cuts arrays out byte for byte and loses none (I4, I8).
func TestRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, body string
		want       []string
	}{
		{`.[]`, " \n[1, {\"a\" : 1 } ,\t\"x]\",[2 ,3]\n]\n", []string{`1`, `{"a" : 1 }`, `"x]"`, `[2 ,3]`}},
		{`.[][]`, " [ [ 1 ], [], [2,3 ] ]", []string{`1`, `2`, `3`}},
		{`.a[]`, `{"b":[0],"a":[ {"a":[9]} ]}`, []string{`{"a":[9]}`}},
		{`.a[].b[]`, `{"a":[{"b":[ 1.0 ]},{"b":[]},{"x":0,"b":[1.00]}]}`, []string{`1.0`, `1.00`}},
		{`.\"a.b\".c[]`, `{"a.b":{"c":[1]}}`, []string{`1`}},
		{`.[]`, `[]`, nil},
	} {
		records, err := receive(t, plain(`"stream":{"value":"s"},"records":"`+c.path+`"`), c.body)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		var got []string
		for _, r := range records {
			got = append(got, string(r.Data))
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s of %s: got %q, want %q", c.path, c.body, got, c.want)
		}
	}
	for path, body := range map[string]string{
		`.a[]`: `{"b":[]}`, `.[]`: `{"a":[]}`, `.a[].b[]`: `{"a":[{"b":[1]},{}]}`, `.b[]`: `{"b":null}`, `.c[]`: `[{"c":[]}]`, `.d[]`: `{"d":{}}`,
	} {
		_, err := receive(t, plain(`"stream":{"value":"s"},"records":"`+path+`"`), body)
		wantKind(t, err, connectors.Invalid, "no array at "+path)
	}
	_, err := receive(t, plain(`"stream":{"value":"s"},"records":".[]"`), "["+strings.Repeat("1,", 50_000)+"1]")
	wantKind(t, err, connectors.Invalid, "more than 50000 records")
}

// TestUnusableElements: an element that no record can be made of holds back none of the others and is not lost (I4). Where they are all so, it may be the
// settings that are wrong: then the sender keeps them.
func TestUnusableElements(t *testing.T) {
	t.Parallel()
	settings := plain(`"stream":{"body":".s"},"records":".[]"`)
	body := `[{"s":"a"}, { } ,{"s":"b"},7]`
	d := connectors.Delivery{Body: []byte(body), Header: http.Header{"X-Sign": {hexMAC("s", body)}}}
	got, err := open(t, settings, "s", time.Time{}).Receive(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 2 || got.Records[0].Stream != "a" || got.Records[1].Stream != "b" {
		t.Errorf("got the records %+v", got.Records)
	}
	want := []connectors.Unusable{
		{Reason: "record 1: stream: .s is missing", Data: []byte("{ }")},
		{Reason: "record 3: stream: .s is missing", Data: []byte("7")},
	}
	if !reflect.DeepEqual(got.Unusable, want) {
		t.Errorf("got unusable %+v, want %+v", got.Unusable, want)
	}
	_, err = receive(t, settings, `[{},7]`)
	wantKind(t, err, connectors.Invalid, "record 0: stream: .s is missing")
}

// TestRecordID: without an ID of the sender's, whatever tells two changes apart makes two IDs, and nothing else does (I1).
func TestRecordID(t *testing.T) {
	t.Parallel()
	settings := plain(`"stream":{"header":"S"},"type":{"header":"T"},"key":{"header":"K"},"version":{"header":"V"},"id":{"header":"I"},"id_repeats":true`)
	base := []string{"S", "s", "T", "t", "K", "k", "V", "1", "I", "i"}
	id := func(body string, header []string) string { return receiveOne(t, settings, body, header...).ID }
	seen := map[string]bool{id(`{}`, base): true}
	if !seen[id(`{}`, append([]string{"X-Other", "1"}, base...))] {
		t.Error("a header that says nothing changes the ID")
	}
	for i := 1; i < len(base); i += 2 {
		other := append([]string(nil), base...)
		other[i] += "1"
		seen[id(`{}`, other)] = true
	}
	seen[id(`{ }`, base)] = true
	seen[id(`{}`, []string{"S", "s", "T", "ti", "K", "k", "V", "1"})] = true
	if len(seen) != 8 {
		t.Errorf("8 changes have %d IDs", len(seen))
	}
}

// TestDeletes: an event deletes the object that it names, and none where it names none.
func TestDeletes(t *testing.T) {
	t.Parallel()
	settings := plain(`"type":{"body":".t"},"key":{"body":".k"},"deletes":["gone","lost"]`)
	for body, want := range map[string]connectors.Op{
		`{"t":"gone","k":1}`: connectors.Delete, `{"t":"lost","k":1}`: connectors.Delete, `{"t":"found","k":1}`: connectors.Upsert,
		`{"t":"gone"}`: connectors.Upsert, `{"t":"Gone","k":1}`: connectors.Upsert,
	} {
		if r := receiveOne(t, settings, body); r.Op != want {
			t.Errorf("%s: got %s, want %s", body, r.Op, want)
		}
	}
}
