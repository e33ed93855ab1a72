package snowflaketest

import (
	"fmt"
	"sync"
)

// Error is an answer that is an error: a code of six digits, an SQLSTATE and a message.
type Error struct {
	Code, State, Message string
}

func (e *Error) Error() string { return e.Code + " (" + e.State + "): " + e.Message }

// Errors that the server answers with by itself. Snowflake has no list of its codes; these are as its drivers and its documentation know them:
// https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting, https://docs.snowflake.com/en/user-guide/oauth-snowflake-overview#error-codes,
// https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/internal/errors/errors.go, https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/errors.go,
// https://github.com/snowflakedb/snowflake-connector-python/blob/main/src/snowflake/connector/errorcode.py
const (
	wrongPassword    = "390100"
	wrongJWT         = "390144"
	wrongOAuth       = "390303"
	expiredOAuth     = "390318"
	noRole           = "390189"
	noObject         = "390201"
	sessionGone      = "390111"
	sessionExpired   = "390112"
	masterExpired    = "390114"
	syntax           = "001003"
	missing          = "002003"
	invalidName      = "000904"
	noRight          = "003001"
	noWarehouse      = "000606"
	columnExists     = "001430"
	cancelled        = "000604"
	notExecuting     = "000605"
	tooManyWaiters   = "000625"
	lockTimeout      = "000630"
	notNumeric       = "100038"
	notTimestamp     = "100035"
	notJSON          = "100069"
	notNull          = "100072"
	tooLong          = "100078"
	noFile           = "100016"
	externalStage    = "002235"
	internalError    = "300002"
	invalidParameter = "390400"
)

var states = map[string]string{
	syntax: "42000", missing: "02000", invalidName: "42000", noRight: "42501", noWarehouse: "57P03", columnExists: "42601", cancelled: "57014", notExecuting: "02000", tooManyWaiters: "57014", lockTimeout: "57014",
	notNumeric: "22018", notTimestamp: "22007", notJSON: "22P02", notNull: "22000", tooLong: "22000", noFile: "22000", externalStage: "42601", internalError: "XX000",
}

func fail(code, format string, args ...any) *Error {
	return &Error{code, states[code], fmt.Sprintf(format, args...)}
}

// Returned counts the errors that servers returned.
type Returned struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *Returned) add(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[string]int)
	}
	r.count[code]++
}

// documented are the errors that tests of all of the connector have to meet.
var documented = []string{
	wrongPassword, wrongJWT, wrongOAuth, expiredOAuth, noRole, noObject, sessionGone, sessionExpired, masterExpired, syntax, missing, noRight, noWarehouse, cancelled, tooManyWaiters, lockTimeout, notNumeric, tooLong,
	externalStage, internalError,
}

// Missing lists the documented errors that were never returned.
func (r *Returned) Missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for _, code := range documented {
		if r.count[code] == 0 {
			missing = append(missing, code)
		}
	}
	return missing
}
