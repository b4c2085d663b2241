package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

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
	status := statusOf(err)
	var api smithy.APIError
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		f.kind, f.reason = ctx.Err(), fmt.Sprintf("%s has not answered in time", s.where)
	case errors.Is(err, errNoCredentials):
		f.kind, f.reason = registry.ErrPermission, errNoCredentials.Error()
	case status == http.StatusNotFound && !errors.As(err, &api):
		f.reason = fmt.Sprintf("%s answers, but not as an S3 server, check --s3-endpoint", s.where)
	case errors.As(err, &api):
		s.blame(f, status, api.ErrorCode())
	case status != 0:
		f.reason = fmt.Sprintf("%s answers %d %s", s.where, status, http.StatusText(status))
		if kind, ok := statuses[status]; ok {
			f.kind = kind
		}
	case errors.As(err, &dns) && dns.IsNotFound && !s.pathStyle:
		f.reason = fmt.Sprintf("no such host %s (--s3-path-style keeps the bucket out of the host's name)", dns.Name)
	default:
		f.reason = fmt.Sprintf("%s: %v", s.where, root(err))
	}
	return f
}

// blame takes the reason from what the server said itself.
func (s *S3) blame(f *s3Failure, status int, code string) {
	f.reason = code
	if c, ok := complaints[code]; ok {
		f.kind = c.kind
		if c.advice != "" {
			f.reason = fmt.Sprintf("%s of bucket %s at %s: %s", code, s.bucket, s.where, c.advice)
		}
	} else if kind, ok := statuses[status]; ok {
		f.kind = kind
	}
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
