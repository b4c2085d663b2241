package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/kingpinfs/kingpin/registry"
)

// errNoCredentials tells the credential chain's troubles from the server's.
var errNoCredentials = errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, " +
	"a role of this machine, or --aws-key-file")

// complaints are what S3 servers say, by their code, and what it means here. What somebody who operates the server may mend, and
// nobody else, is ErrUnreachable: nothing can be written meanwhile, and it is tried again.
var complaints = map[string]struct {
	kind   error
	advice string
}{
	"NoSuchKey":    {registry.ErrNotExist, ""},
	"NoSuchBucket": {registry.ErrUnreachable, "the bucket does not exist there, check --s3-bucket and --s3-endpoint"},

	"InvalidBucketName": {registry.ErrUnreachable, "no bucket can have this name, check --s3-bucket"},

	"AccessDenied": {registry.ErrPermission, "these credentials need s3:GetObject, s3:PutObject and, to be told what is missing " +
		"from what is forbidden, s3:ListBucket on this bucket"},
	"InvalidAccessKeyId":    {registry.ErrPermission, "check the access key id, and that it is one of this server"},
	"SignatureDoesNotMatch": {registry.ErrPermission, "check the secret access key"},
	"ExpiredToken":          {registry.ErrPermission, "the session has ended, renew the credentials"},
	"InvalidToken":          {registry.ErrPermission, "check AWS_SESSION_TOKEN"},
	"RequestTimeTooSkewed":  {registry.ErrPermission, "check the clock of this machine"},

	"AuthorizationHeaderMalformed": {registry.ErrUnreachable, "check --s3-region"},
	"PermanentRedirect":            {registry.ErrUnreachable, "the bucket is in another region, check --s3-region and --s3-endpoint"},
	"TemporaryRedirect":            {registry.ErrUnreachable, "the bucket is in another region, check --s3-region and --s3-endpoint"},

	"EntityTooLarge":   {registry.ErrTooLarge, ""},
	"MetadataTooLarge": {registry.ErrInvalid, ""},
	"KeyTooLongError":  {registry.ErrInvalid, ""},

	"XAdminUserNotFound": {registry.ErrPermission, "check the access key id"}, // versitygw, with status 404
}

// statuses are the meaning of answers with another code, or none. What is not here may be over in a moment.
var statuses = map[int]error{
	http.StatusBadRequest:            registry.ErrInvalid,
	http.StatusUnauthorized:          registry.ErrPermission,
	http.StatusForbidden:             registry.ErrPermission,
	http.StatusMethodNotAllowed:      registry.ErrInvalid,
	http.StatusPreconditionFailed:    registry.ErrExist,
	http.StatusRequestEntityTooLarge: registry.ErrTooLarge,
	http.StatusNotImplemented:        registry.ErrInvalid,
}

// s3Failure is short for people and whole for errors.Is and errors.As.
type s3Failure struct {
	did, key string
	reason   string
	kind     error
	err      error
}

func (f *s3Failure) Error() string {
	return fmt.Sprintf("S3: %s %s: %s: %v", f.did, f.key, f.reason, f.kind)
}

func (f *s3Failure) Unwrap() []error { return []error{f.kind, f.err} }

// failure says in the registry's errors, and in words that help, what went wrong.
func (s *S3) failure(ctx context.Context, did, key string, err error) error {
	if err == nil {
		return nil
	}
	f := &s3Failure{did: did, key: key, kind: registry.ErrUnreachable, err: err}
	var api smithy.APIError
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		f.kind, f.reason = ctx.Err(), fmt.Sprintf("%s has not answered in time", s.where)
	case errors.Is(err, errNoCredentials):
		f.kind, f.reason = registry.ErrPermission, errNoCredentials.Error()
	case errors.As(err, &api) && statusOf(err) != 0:
		s.blame(f, api.ErrorCode())
	case errors.As(err, &dns) && dns.IsNotFound && !s.pathStyle:
		f.reason = fmt.Sprintf("no such host %s (--s3-path-style keeps the bucket out of the host's name)", dns.Name)
	default:
		f.reason = fmt.Sprintf("%s: %v", s.where, root(err))
	}
	return f
}

// blame takes the reason from what the server said itself.
func (s *S3) blame(f *s3Failure, code string) {
	status := statusOf(f.err)
	c, known := complaints[code]
	kind, meant := statuses[status]
	switch {
	case known && c.advice != "":
		f.kind, f.reason = c.kind, fmt.Sprintf("%s (bucket %s at %s): %s", code, s.bucket, s.where, c.advice)
	case known:
		f.kind, f.reason = c.kind, code
	case status == http.StatusNotFound && speechless(f.err):
		f.kind, f.reason = registry.ErrNotExist, code
	case status == http.StatusNotFound:
		f.reason = fmt.Sprintf("%s answers 404 %s, and not as an S3 server does, check --s3-endpoint", s.where, code)
	default:
		f.reason = fmt.Sprintf("%s answers %d %s", s.where, status, code)
		if meant {
			f.kind = kind
		}
	}
}

// speechless says whether nothing came with the status. Some S3 servers say so that there is no such key.
func speechless(err error) bool {
	var response *awshttp.ResponseError
	return errors.As(err, &response) && response.Response != nil && response.Response.ContentLength == 0
}

// mayHaveArrived says whether a request that got no answer was sent.
func mayHaveArrived(err error) bool {
	var network *net.OpError
	return !errors.As(err, &network) || network.Op != "dial"
}

// root is the innermost error: what the network said, without the SDK's chain of what it was doing.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// statusOf is the HTTP status of a failed request; 0 if none came back.
func statusOf(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}
