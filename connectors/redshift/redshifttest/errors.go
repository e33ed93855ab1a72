package redshifttest

import (
	"regexp"

	"github.com/jackc/pgx/v5/pgproto3"

	"tributary/connectors/connectortest/documented"
)

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	var all []string
	for _, names := range [][]string{states, own, s3Errors, loadErrors, loginErrors} {
		all = append(all, names...)
	}
	return documented.New(all...)
}

// states are SQLSTATEs, which Redshift has of PostgreSQL: https://www.postgresql.org/docs/current/errcodes-appendix.html
var states = []string{
	"0A000", "22001", "22003", "22007", "23502", "25006", "28000", "3D000", "3F000", "40P01", "42501", "42601", "42703", "42704", "42883", "42P01", "53200", "53300", "54000", "57014", "57P01", "XX000",
}

// own are errors of Redshift's own, which are told by their words, under names of this package's: a conflict of transactions, by its number
// (https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation-serializable-isolation-troubleshooting.html), a role that may not be assumed
// (https://docs.aws.amazon.com/redshift/latest/mgmt/copy-unload-iam-role.html) and a load in which a row was refused
// (https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-error.html).
var own = []string{"1023", "not authorized to assume IAM Role", "sys_load_error_detail"}

// s3Errors are what S3 answers COPY with: https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html and, for the codes,
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var s3Errors = []string{"Error AccessDenied", "Error NoSuchBucket", "Error NoSuchKey", "Error PermanentRedirect", "Error SlowDown", "Error InternalError"}

// loadErrors are what COPY has against rows: https://docs.aws.amazon.com/redshift/latest/dg/r_Load_Error_Reference.html
var loadErrors = []string{"1204", "1206", "1207", "1210", "1216", "1224"}

// loginErrors are those of the two APIs that give passwords: https://docs.aws.amazon.com/redshift/latest/APIReference/API_GetClusterCredentials.html,
// https://docs.aws.amazon.com/redshift/latest/APIReference/CommonErrors.html and https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/API_GetCredentials.html,
// https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/CommonErrors.html
var loginErrors = []string{"ClusterNotFound", "AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ResourceNotFoundException", "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"}

// namesIn are the names that an error's words have in them.
var namesIn = regexp.MustCompile(`^1023\b|not authorized to assume IAM Role|sys_load_error_detail|Error [A-Z][A-Za-z]+`)

// namesOf are the names that an error has here.
func namesOf(m *pgproto3.ErrorResponse) []string {
	if m.Code == "40001" {
		return []string{"1023"}
	}
	return append(namesIn.FindAllString(m.Message, -1), m.Code)
}
