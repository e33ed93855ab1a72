package mongodbtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors/connectortest/documented"
)

// names are the errors that a server may answer with, by their codes: https://www.mongodb.com/docs/manual/reference/error-codes/ and, where those come from,
// https://github.com/mongodb/mongo/blob/v7.0/src/mongo/base/error_codes.yml. One that has no name there is called after the place that raises it.
var names = map[int32]string{
	2: "BadValue", 6: "HostUnreachable", 7: "HostNotFound", 9: "FailedToParse", 11: "UserNotFound", 13: "Unauthorized", 14: "TypeMismatch", 15: "Overflow", 16: "InvalidLength",
	18: "AuthenticationFailed", 20: "IllegalOperation", 22: "InvalidBSON", 24: "LockTimeout", 26: "NamespaceNotFound", 40: "ConflictingUpdateOperators", 43: "CursorNotFound",
	50: "MaxTimeMSExpired", 52: "DollarPrefixedFieldName", 56: "EmptyFieldName", 57: "DottedFieldName", 59: "CommandNotFound", 64: "WriteConcernFailed", 66: "ImmutableField",
	72: "InvalidOptions", 73: "InvalidNamespace", 79: "UnknownReplWriteConcern", 85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 89: "NetworkTimeout", 91: "ShutdownInProgress",
	100: "UnsatisfiableWriteConcern", 112: "WriteConflict", 121: "DocumentValidationFailure", 133: "FailedToSatisfyReadPreference", 166: "CommandNotSupportedOnView", 175: "QueryPlanKilled",
	189: "PrimarySteppedDown", 202: "NetworkInterfaceExceededTimeLimit", 238: "NotImplemented", 262: "ExceededTimeLimit", 276: "IndexBuildAborted", 334: "MechanismUnavailable",
	9001: "SocketException", 10058: "LegacyNotPrimary", 10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey", 11600: "InterruptedAtShutdown", 11601: "Interrupted",
	11602: "InterruptedDueToReplStateChange", 13388: "StaleConfig", 13435: "NotPrimaryNoSecondaryOk", 13436: "NotPrimaryOrSecondary", 14031: "OutOfDiskSpace", 17280: "KeyTooLong",
	40415: "Location40415", 40571: "Location40571",
	// Servers of later versions: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
	365: "TemporarilyUnavailable", 371: "UserWritesBlocked", 433: "AdmissionQueueOverflow", 449: "RateLimitExceeded", 462: "IngressRequestRateLimitExceeded",
	// Documents that updates make too large: https://github.com/mongodb/mongo/blob/v6.0/src/mongo/db/exec/update_stage.cpp and upsert_stage.cpp
	17419: "Location17419", 17420: "Location17420",
	// Cosmos DB: https://learn.microsoft.com/en-us/azure/cosmos-db/mongodb/error-codes-solutions
	16500: "TooManyRequests",
}

// Documented are the errors that a server may return, by their names, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	return documented.New(slices.Collect(maps.Values(names))...)
}

// failure is one of these errors.
type failure struct {
	code    int32
	message string
	more    bson.D
}

func fail(code int32, format string, args ...any) *failure {
	if names[code] == "" {
		panic(fmt.Sprintf("mongodbtest: error %d is not documented", code))
	}
	return &failure{code: code, message: fmt.Sprintf(format, args...)}
}

// failed is the answer to a command that failed as a whole: https://www.mongodb.com/docs/manual/reference/method/db.runCommand/#response
func (s *Server) failed(f *failure) bson.D {
	s.returned.Return(names[f.code])
	return append(bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: f.message}, {Key: "code", Value: f.code}, {Key: "codeName", Value: names[f.code]}}, f.more...)
}

// against is what stands in an answer against one document: https://www.mongodb.com/docs/manual/reference/command/insert/#output
func (s *Server) against(index int, f *failure) bson.D {
	s.returned.Return(names[f.code])
	return append(bson.D{{Key: "index", Value: int32(index)}, {Key: "code", Value: f.code}, {Key: "errmsg", Value: f.message}}, f.more...)
}

// unconfirmed is what stands in an answer to a write that was done and not confirmed: https://www.mongodb.com/docs/manual/reference/command/insert/#output
func (s *Server) unconfirmed(f *failure) bson.E {
	s.returned.Return(names[f.code])
	return bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: f.code}, {Key: "codeName", Value: names[f.code]}, {Key: "errmsg", Value: f.message}}}
}

// Against is what an error speaks against.
type Against int

const (
	Command      Against = iota // nothing of it was done
	Document                    // the first of those that the command writes; nothing of the others was done
	WriteConcern                // all was done, and not by as many members as it has to be
)

// refusal is an error that the server was told to answer with.
type refusal struct {
	code    int32
	against Against
}

// Refuse makes a server, which has neither users nor other members nor a disk, answer a command with an error of one that has. As MongoDB's do, messages quote what was
// sent, and those of a broken unique index name email_1.
func (s *Server) Refuse(t testing.TB, command string, code int32, against Against) {
	t.Helper()
	if names[code] == "" {
		t.Fatalf("the error %d is not documented", code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[command] = refusal{code, against}
}

// refused answers a command as the server was told to. False: it was told nothing.
func (s *Server) refused(c *command) (bson.D, bool) {
	s.mu.Lock()
	r, told := s.refusals[c.name]
	s.mu.Unlock()
	if !told {
		return nil, false
	}
	var sent strings.Builder
	sent.WriteString(c.body.String())
	for _, list := range c.lists {
		for _, d := range list {
			sent.WriteString(d.String())
		}
	}
	f := fail(r.code, "E%d %s error index: email_1 dup key: %s", r.code, names[r.code], &sent)
	switch r.against {
	case Document:
		return bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{s.against(0, f)}}}, true
	case WriteConcern:
		return append(s.carryOut(c), s.unconfirmed(f)), true
	}
	return s.failed(f), true
}
