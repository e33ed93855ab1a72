package snowflake

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
)

// Storage is how to get into the bucket that an external stage of the account points to: PUT writes to internal stages only
// (https://docs.snowflake.com/en/sql-reference/sql/put), so files are put there past Snowflake, which reads them by the stage's own integration.
type Storage struct {
	StageURL      string `json:"stage_url,omitempty" jsonschema:"description=For blocks with an external stage: where its files lie as DESC STAGE shows it: s3://bucket/path/ or gcs://bucket/path/ or azure://account.blob.core.windows.net/container/path/"`
	StageRegion   string `json:"stage_region,omitempty" jsonschema:"description=Region of a bucket of S3 such as eu-central-1"`
	StageEndpoint string `json:"stage_endpoint,omitempty" jsonschema:"format=uri,description=https URL of what speaks the cloud's protocol in its place such as the store of an s3compat:// stage"`
	// Credentials are for s3://.
	amazon.Credentials
	ServiceAccountKey string `json:"service_account_key,omitempty" jsonschema:"description=Text of the JSON key file of a service account that writes to a gcs:// bucket,format=password"`
	AzureSASToken     string `json:"azure_sas_token,omitempty" jsonschema:"description=Shared access signature of the container of an azure:// stage,format=password"`
}

// stageURLs are those of CREATE STAGE: https://docs.snowflake.com/en/sql-reference/sql/create-stage
var (
	stageURLs = regexp.MustCompile(`^(s3|s3gov|s3china|s3compat|gcs)://([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])(?:/([^?#\x00-\x1f]*))?$`)
	azureURLs = regexp.MustCompile(`^(azure)://([a-z0-9]{3,24}\.blob\.core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn))/([a-z0-9$-]{3,63})(?:/([^?#\x00-\x1f]*))?$`)
)

// bucket is what an external stage points to.
type bucket struct {
	*blob.Bucket
	url string // as the stage has it, with a slash at its end
	// object names what rights are for, grant is what to allow the credentials.
	name, grant string
	prefix      string
	http        *http.Client
	close       func() error
}

// open judges what the connection says and makes the client. It calls nobody.
func (s Storage) open(operator bool, env connectors.Env) (*bucket, error) {
	invalid := func(format string, args ...any) (*bucket, error) {
		return nil, connectors.Errorf(connectors.Invalid, "connection", format, args...)
	}
	cloud, host, name, path := "", "", "", ""
	if m := stageURLs.FindStringSubmatch(s.StageURL); m != nil {
		cloud, name, path = m[1], m[2], m[3]
	} else if m := azureURLs.FindStringSubmatch(s.StageURL); m != nil {
		cloud, host, name, path = m[1], m[2], m[3], m[4]
	} else {
		return invalid("stage_url: want the URL of the stage as DESC STAGE shows it, such as s3://bucket/path/, gcs://bucket/path/ or azure://account.blob.core.windows.net/container/path/")
	}
	if err := outbound.CheckEndpoint(s.StageEndpoint, env.Networks); err != nil {
		return nil, err
	}
	b := &bucket{url: slashed(s.StageURL), name: name, prefix: strings.TrimPrefix(slashed("/"+path), "/")}
	if b.prefix == "/" {
		b.prefix = ""
	}
	b.http = amazon.Client(s.StageEndpoint, env, outbound.Options{Timeout: answerTimeout, Concurrency: 2 * maxConns})
	wants := map[string]bool{"gcs": s.ServiceAccountKey != "", "azure": s.AzureSASToken != ""}
	for other, given := range wants {
		if other != cloud && given {
			return invalid("stage_url: the credentials of the connection are for %s://", other)
		}
	}
	if given, needed := wants[cloud]; needed && (!given || s.Credentials != amazon.Credentials{}) {
		return invalid("stage_url: give %s alone for %s://", map[string]string{"gcs": "service_account_key", "azure": "azure_sas_token"}[cloud], cloud)
	}
	var err error
	switch cloud {
	case "gcs":
		b.grant = "the role roles/storage.objectUser on the bucket"
		err = b.openGoogle(s, name, env)
	case "azure":
		b.grant = "a signature with the permissions create, write, delete and list (sp=cwdl) of the container"
		err = b.openAzure(s, host, name)
	default:
		if cloud == "s3compat" && s.StageEndpoint == "" {
			return invalid("stage_endpoint: an s3compat:// stage needs the endpoint of its store")
		}
		b.grant = fmt.Sprintf(`{"Effect":"Allow","Action":["s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::%s/%stributary/*"} and {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::%s"}`, name, b.prefix, name)
		err = b.openAmazon(s, name, operator)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func slashed(url string) string { return strings.TrimSuffix(url, "/") + "/" }

func (b *bucket) openAmazon(s Storage, name string, operator bool) error {
	if !amazon.IsRegion(s.StageRegion) {
		return connectors.Errorf(connectors.Invalid, "connection", "stage_region: want the region of the bucket, such as eu-central-1")
	}
	if err := s.Credentials.Check(operator); err != nil {
		return err
	}
	config, err := amazon.Config(s.Credentials, s.StageRegion, s.StageEndpoint, b.http)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = s.StageEndpoint != "" })
	return b.opened(s3blob.OpenBucket(context.Background(), client, name, nil))
}

func (b *bucket) openGoogle(s Storage, name string, env connectors.Env) error {
	// Other kinds of key files may name files and hosts of the worker's that credentials are to be fetched from; this takes no other.
	key, err := google.JWTConfigFromJSON([]byte(s.ServiceAccountKey), storage.ScopeReadWrite)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", `service_account_key: want the text of the JSON key file of a service account, with "type": "service_account"`)
	}
	if err := outbound.CheckURL(key.TokenURL, env.Networks); err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "service_account_key: token_uri: %s", connectors.AsError("", err).Message)
	}
	tokens := key.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, b.http))
	authorized := *b.http
	authorized.Transport = &oauth2.Transport{Base: b.http.Transport, Source: tokens}
	options := []option.ClientOption{option.WithHTTPClient(&authorized)}
	if s.StageEndpoint != "" {
		options = append(options, option.WithEndpoint(strings.TrimSuffix(s.StageEndpoint, "/")+"/storage/v1/"))
	}
	client, err := storage.NewClient(context.Background(), options...)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "the client of the bucket can't be made")
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever)) // the engine comes again
	b.close = client.Close
	return b.opened(gcsblob.OpenBucket(context.Background(), nil, name, &gcsblob.Options{Client: client}))
}

func (b *bucket) openAzure(s Storage, host, name string) error {
	address := "https://" + host
	if s.StageEndpoint != "" {
		address = strings.TrimSuffix(s.StageEndpoint, "/")
	}
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{Transport: b.http, Retry: policy.RetryOptions{MaxRetries: -1}}}
	client, err := container.NewClientWithNoCredential(address+"/"+name+"?"+strings.TrimPrefix(s.AzureSASToken, "?"), options)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "azure_sas_token: want a shared access signature, such as sv=...&sig=...")
	}
	return b.opened(azureblob.OpenBucket(context.Background(), client, nil))
}

func (b *bucket) opened(of *blob.Bucket, err error) error {
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "the client of the bucket can't be made")
	}
	b.Bucket = of
	return nil
}

func (b *bucket) Close() error {
	err := b.Bucket.Close()
	if b.close != nil {
		err = errors.Join(err, b.close())
	}
	b.http.CloseIdleConnections()
	if err != nil {
		return connectors.AsError("close", err)
	}
	return nil
}

// put writes a file. One of its name that is there already has the same content.
func (b *bucket) put(ctx context.Context, path string, content io.Reader) error {
	// Nothing is copied but where Azure wants blocks, one at a time.
	err := b.Upload(ctx, b.prefix+path, content, &blob.WriterOptions{ContentType: "application/octet-stream", BufferSize: 8 << 20, MaxConcurrency: 1})
	if err != nil {
		return &storageError{"write to", err}
	}
	return nil
}

// remove deletes what is in a folder.
func (b *bucket) remove(ctx context.Context, folder string) error {
	for list := b.List(&blob.ListOptions{Prefix: b.prefix + folder + "/"}); ; {
		object, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &storageError{"list", err}
		}
		if err := b.Delete(ctx, object.Key); err != nil {
			return &storageError{"delete from", err}
		}
	}
}

// storageError says that the bucket of an external stage did not do what it was asked.
type storageError struct {
	act string
	error
}

func (e *storageError) Unwrap() error { return e.error }

// failed says what the cloud answered by its code alone: the rest may quote what was sent (I7).
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, https://cloud.google.com/storage/docs/json_api/v1/status-codes,
// https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes
func (b *bucket) failed(op string, err *storageError) *connectors.Error {
	e := &connectors.Error{Op: op, Err: err}
	var none *amazon.NoCredentials
	if errors.As(err, &none) {
		e.Kind, e.Message = none.Kind(), "the bucket of the stage: "+none.Message
		return e
	}
	var token *oauth2.RetrieveError
	if errors.As(err, &token) {
		e.Kind, e.Message = connectors.Unauthorized, "the bucket of the stage: the service account's key is not accepted: it was deleted or disabled; make a new one"
		if token.Response != nil && (token.Response.StatusCode >= 500 || token.Response.StatusCode == http.StatusTooManyRequests) {
			e.Kind, e.Message = connectors.Unavailable, "the bucket of the stage: no access token could be had"
		}
		return e
	}
	code, status, answered := answerOf(err)
	if !answered || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		e = outbound.AsError(op, err.error)
		e.Message = "the bucket of the stage: " + e.Message
		return e
	}
	m := amazon.MeaningOf(code, status)
	switch {
	case code == "PermanentRedirect", code == "AuthorizationHeaderMalformed", status == http.StatusMovedPermanently:
		m = amazon.Meaning{Kind: connectors.Invalid, Advice: "it is in another region: set stage_region in the connection"}
	case code == "AuthenticationFailed": // of Azure, which answers it with 403
		m = amazon.Meaning{Kind: connectors.Unauthorized, Advice: "azure_sas_token is not accepted, or has expired"}
	case m.Kind == connectors.Forbidden:
		m.Advice = fmt.Sprintf("the credentials may not %s it; let an administrator allow: %s", err.act, b.grant)
	case m.Kind == connectors.Unauthorized:
		m.Advice = "its credentials are not accepted"
	case status == http.StatusNotFound:
		m = amazon.Meaning{Kind: connectors.NotFound, Advice: fmt.Sprintf("there is no %q", b.name)}
	case m.Kind == connectors.Unknown && status/100 == 4:
		m = amazon.Meaning{Kind: connectors.Invalid, Advice: "it refuses the request"}
	}
	what := fmt.Sprintf("HTTP %d", status)
	if amazon.IsCode(code) {
		what = code
	}
	e.Kind, e.Message = m.Kind, fmt.Sprintf("the bucket of the stage: %s (%s)", m.Advice, what)
	return e
}

// answerOf is what the cloud answered, if it did.
func answerOf(err error) (code string, status int, answered bool) {
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &google):
		return "", google.Code, true
	case errors.As(err, &azure):
		return azure.ErrorCode, azure.StatusCode, true
	case errors.Is(err, storage.ErrBucketNotExist):
		return "", http.StatusNotFound, true
	}
	return amazon.Answer(err)
}

// checkStage looks whether the stage points to the bucket: what is put elsewhere is never found. https://docs.snowflake.com/en/sql-reference/sql/desc-stage
func (s *store) checkStage(ctx context.Context) error {
	b := s.pool.bucket
	if b == nil || s.pool.ready.Is(readiness{table: "@" + s.place.stage}) {
		return nil
	}
	url, err := s.stageURL(ctx)
	if err != nil {
		return s.failed("look at stage", err)
	}
	if slashed(url) != b.url {
		what := "points to another place than the connection's stage_url"
		if url == "" {
			what = "is internal: leave stage_url out of the connection, or name an external one"
		}
		return connectors.Errorf(connectors.Invalid, "look at stage", "stage @%s %s", s.place.stage, what)
	}
	s.pool.ready.Set(readiness{table: "@" + s.place.stage})
	return nil
}

// tryStage proves that what is put into the bucket is seen on the stage, and can be removed again.
func (s *store) tryStage(ctx context.Context) error {
	if err := s.checkStage(ctx); err != nil {
		return err
	}
	folder := "tributary/check-" + token()
	clean := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
		defer cancel()
		return s.pool.bucket.remove(ctx, folder)
	}
	err := s.pool.bucket.put(ctx, folder+"/check", strings.NewReader("{}"))
	if err == nil {
		var n int
		if n, err = s.list(ctx, folder); err == nil && n == 0 {
			err = connectors.Errorf(connectors.Invalid, "check stage", "a file that was put into the bucket is not seen on stage @%s: look at its URL and its storage integration", s.place.stage)
		}
		if undone := clean(); err == nil {
			err = undone
		}
	}
	if err != nil {
		return s.failed("check stage", err)
	}
	return nil
}

// stageURL is where a stage's files lie; "" for an internal one.
func (s *store) stageURL(ctx context.Context) (url string, err error) {
	rows, err := s.pool.QueryContext(ctx, "DESCRIBE STAGE "+s.place.stage)
	if err != nil {
		return "", &uploadError{err}
	}
	var list []string // as JSON
	err = each(rows, func(row map[string]sql.NullString) {
		if row["parent_property"].String == "STAGE_LOCATION" && row["property"].String == "URL" && row["property_value"].String != "" {
			_ = json.Unmarshal([]byte(row["property_value"].String), &list) // what is no list is no place of ours
		}
	})
	if err != nil {
		return "", &uploadError{err}
	}
	return strings.Join(list, " "), nil
}
