package redshifttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors/amazon/amazontest"
)

// The cluster and the workgroup that the server stands for, and who the credentials of AWS are in the database.
const (
	Cluster   = "warehouse"
	Workgroup = "sales"
	Identity  = "IAMR:writer"
)

// giveCredentials answers for the API of clusters, which is that of https://docs.aws.amazon.com/redshift/latest/APIReference/API_GetClusterCredentials.html and
// https://docs.aws.amazon.com/redshift/latest/APIReference/API_GetClusterCredentialsWithIAM.html, and for that of workgroups:
// https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/API_GetCredentials.html. A user of whom the first tells is in the database
// already or is not let in (AutoCreate is false); for an identity of IAM the others make one:
// https://docs.aws.amazon.com/redshift/latest/mgmt/generating-iam-credentials-role-permissions.html
func (s *Server) giveCredentials(w http.ResponseWriter, r *http.Request, body []byte, code string) bool {
	switch amazontest.ServiceOf(r) {
	case "redshift":
		s.clusterCredentials(w, body, code)
	case "redshift-serverless":
		s.workgroupCredentials(w, r, body, code)
	default:
		return false
	}
	return true
}

func (s *Server) clusterCredentials(w http.ResponseWriter, body []byte, code string) {
	refuse := func(status int, code string) {
		s.returned.Return(code)
		amazontest.AnswerXML(w, status, "ErrorResponse", code)
	}
	form, err := url.ParseQuery(string(body))
	switch {
	case code == "UnrecognizedClientException":
		refuse(http.StatusForbidden, "InvalidClientTokenId")
		return
	case code == "InvalidSignatureException":
		refuse(http.StatusForbidden, "SignatureDoesNotMatch")
		return
	case code != "":
		refuse(http.StatusForbidden, code)
		return
	case err != nil || form.Get("Version") != "2012-12-01":
		refuse(http.StatusBadRequest, "ValidationError")
		return
	}
	action, user := form.Get("Action"), ""
	known := []string{"Action", "Version", "ClusterIdentifier", "DbName", "DurationSeconds"}
	switch action {
	case "GetClusterCredentials":
		known = append(known, "DbUser", "AutoCreate")
		user = "IAM:" + form.Get("DbUser")
	case "GetClusterCredentialsWithIAM":
		user = Identity
	default:
		refuse(http.StatusBadRequest, "InvalidAction")
		return
	}
	for name := range form {
		if !slices.Contains(known, name) {
			refuse(http.StatusBadRequest, "InvalidParameterValue")
			return
		}
	}
	seconds, _ := strconv.Atoi(form.Get("DurationSeconds"))
	s.mu.Lock()
	denied := s.policy
	s.mu.Unlock()
	switch {
	case denied:
		refuse(http.StatusForbidden, "AccessDenied")
	case form.Get("ClusterIdentifier") != Cluster:
		refuse(http.StatusNotFound, "ClusterNotFound")
	case user == "IAM:" || seconds < 900 || seconds > 3600:
		refuse(http.StatusBadRequest, "InvalidParameterValue")
	default:
		password, ends, err := s.give(user)
		if err != nil {
			refuse(http.StatusInternalServerError, "InternalFailure")
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<%[1]sResponse xmlns="http://redshift.amazonaws.com/doc/2012-12-01/"><%[1]sResult><DbUser>%s</DbUser><DbPassword>%s</DbPassword><Expiration>%s</Expiration></%[1]sResult>`+
			`<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></%[1]sResponse>`, action, user, password, ends.UTC().Format(time.RFC3339))
	}
}

func (s *Server) workgroupCredentials(w http.ResponseWriter, r *http.Request, body []byte, code string) {
	refuse := func(status int, code string) {
		s.returned.Return(code)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": "said by the server"})
	}
	var asked struct {
		WorkgroupName   string `json:"workgroupName"`
		DbName          string `json:"dbName"`
		DurationSeconds int    `json:"durationSeconds"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	s.mu.Lock()
	denied := s.policy
	s.mu.Unlock()
	switch {
	case code != "":
		refuse(http.StatusForbidden, code)
	case r.Header.Get("X-Amz-Target") != "RedshiftServerless.GetCredentials":
		refuse(http.StatusBadRequest, "UnknownOperationException")
	case d.Decode(&asked) != nil || asked.DurationSeconds < 900 || asked.DurationSeconds > 3600:
		refuse(http.StatusBadRequest, "ValidationException")
	case denied:
		refuse(http.StatusForbidden, "AccessDeniedException")
	case asked.WorkgroupName != Workgroup:
		refuse(http.StatusNotFound, "ResourceNotFoundException")
	default:
		password, ends, err := s.give(Identity)
		if err != nil {
			refuse(http.StatusInternalServerError, "InternalServerException")
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(map[string]any{"dbUser": Identity, "dbPassword": password, "expiration": float64(ends.Unix())})
	}
}

// give makes a password for a user, and the user where it is an identity of IAM.
func (s *Server) give(user string) (password string, ends time.Time, err error) {
	if strings.HasPrefix(user, "IAMR:") {
		if err := s.identify(user); err != nil {
			return "", ends, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given++
	password = "canary-given-" + strconv.Itoa(s.given)
	s.iam[user] = password
	return password, s.now().Add(time.Hour), nil
}

// identify makes the user of an identity, once.
func (s *Server) identify(user string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var there bool
	name := s.role(user)
	if err := conn.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_roles WHERE rolname = $1", strings.Trim(name, `"`)).Scan(&there); err != nil || there {
		return err
	}
	for _, sql := range []string{"CREATE ROLE " + name + " LOGIN", `GRANT CREATE, TEMPORARY ON DATABASE "` + s.database + `" TO ` + name, "GRANT USAGE, CREATE ON SCHEMA public TO " + name} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	s.set(func() { s.identified = append(s.identified, name) })
	return nil
}

// SetClock is what the times of passwords are told by.
func (s *Server) SetClock(now func() time.Time) { s.set(func() { s.now = now }) }

// Given is how many passwords IAM has given.
func (s *Server) Given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given
}

// ExpirePasswords ends those that IAM has given; sessions go on.
func (s *Server) ExpirePasswords() { s.set(func() { clear(s.iam) }) }
