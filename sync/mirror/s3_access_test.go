package mirror_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// Whoever sets up a machine reads these words, and has to know what to do next.
func TestS3SaysWhatToCheck(t *testing.T) {
	srv := startS3(t)
	answer := func(status int, code string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if code == "" {
				http.Error(w, "<html>nginx</html>", status)
				return
			}
			complain(w, status, code)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, c := range map[string]struct {
		key, secret string
		change      func(o *mirror.S3Options)
		want        error
		words       []string
	}{
		"a wrong secret":    {srv.AccessKey, "wrong", nil, registry.ErrPermission, []string{"SignatureDoesNotMatch", "check the secret"}},
		"a wrong key":       {"WRONG", srv.SecretKey, nil, registry.ErrPermission, []string{"check the access key id"}},
		"no credentials":    {"", "", nil, registry.ErrPermission, []string{"no credentials", "AWS_ACCESS_KEY_ID", "--aws-key-file"}},
		"no such bucket":    {srv.AccessKey, srv.SecretKey, func(o *mirror.S3Options) { o.Bucket = "missing" }, registry.ErrUnreachable, []string{"missing", "--s3-bucket"}},
		"no bucket's name":  {srv.AccessKey, srv.SecretKey, func(o *mirror.S3Options) { o.Bucket = "UPPER" }, registry.ErrUnreachable, []string{"UPPER", "--s3-bucket"}},
		"another region":    {srv.AccessKey, srv.SecretKey, func(o *mirror.S3Options) { o.Region = "eu-west-7" }, registry.ErrUnreachable, []string{"--s3-region"}},
		"forbidden":         {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = answer(403, "AccessDenied") }, registry.ErrPermission, []string{"s3:GetObject", "s3:ListBucket"}},
		"a redirect":        {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = answer(301, "PermanentRedirect") }, registry.ErrUnreachable, []string{"--s3-region"}},
		"another server":    {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = answer(404, "") }, registry.ErrUnreachable, []string{"not as an S3 server", "--s3-endpoint"}},
		"a proxy's refusal": {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = answer(403, "") }, registry.ErrPermission, []string{"403"}},
		"an unknown host":   {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = "http://s3.invalid:1" }, registry.ErrUnreachable, []string{"s3.invalid"}},
		"nobody there":      {"id", "secret", func(o *mirror.S3Options) { o.Endpoint = "http://127.0.0.1:1" }, registry.ErrUnreachable, []string{"127.0.0.1:1", "refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			asOperator(t, c.key, c.secret)
			o := options(srv)
			if c.change != nil {
				c.change(&o)
			}
			s := openS3(t, o)
			words := append(c.words, "S3: get data/config/x")
			_, err := s.Fetch(t.Context(), "data/config/x")
			refused(t, err, c.want, words...)
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("nobody reads this: %s", err)
			}
			t.Log(err)
			words[len(words)-1] = "S3: put data/config/x"
			refused(t, s.Put(t.Context(), "data/config/x", body("x")), c.want, words...)
		})
	}
}

func TestS3SettingsThatCannotWork(t *testing.T) {
	asOperator(t, "id", "secret")
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	must(t, os.WriteFile(empty, []byte("[Boto]\nis_secure = True\n"), 0o600))
	for _, c := range []struct {
		o    mirror.S3Options
		want error
		word string
	}{
		{mirror.S3Options{}, registry.ErrInvalid, "--s3-bucket"},
		{mirror.S3Options{Bucket: "b"}, registry.ErrInvalid, "--s3-region"},
		{mirror.S3Options{Bucket: "b", Endpoint: "127.0.0.1:9000"}, registry.ErrInvalid, "--s3-endpoint"},
		{mirror.S3Options{Bucket: "b", Endpoint: "ftp://x"}, registry.ErrInvalid, "--s3-endpoint"},
		{mirror.S3Options{Bucket: "b", Region: "r", KeyFile: filepath.Join(dir, "none")}, os.ErrNotExist, "none"},
		{mirror.S3Options{Bucket: "b", Region: "r", KeyFile: empty}, registry.ErrInvalid, "[Credentials]"},
	} {
		_, err := mirror.OpenS3(t.Context(), c.o)
		refused(t, err, c.want, c.word)
	}
	t.Setenv("AWS_PROFILE", "nobody")
	_, err := mirror.OpenS3(t.Context(), mirror.S3Options{Bucket: "b", Region: "r"})
	refused(t, err, registry.ErrInvalid, "nobody")
}

// Whatever place the credentials are in, it is the SDK's order: what is said on the command line, the environment, the home directory.
func TestS3CredentialsComeFromWhereTheyAre(t *testing.T) {
	srv := startS3(t)
	dir := t.TempDir()
	old := filepath.Join(dir, "aws.cfg") // as the Python KingPin is given it
	must(t, os.WriteFile(old, []byte("[Boto]\nhttp_socket_timeout = 30\nnum_retries = 2\n\n[Credentials]\n"+
		"AWS_ACCESS_KEY_ID="+srv.AccessKey+"\naws_secret_access_key: "+srv.SecretKey+" ; from ops\n\n[s3]\nuse-sigv4 = True\n"), 0o600))
	home := filepath.Join(dir, "credentials")
	must(t, os.WriteFile(home, []byte("[prod]\naws_access_key_id = "+srv.AccessKey+"\naws_secret_access_key = "+srv.SecretKey+"\n"), 0o600))
	for name, set := range map[string]func(o *mirror.S3Options){
		"the key file, over a wrong environment": func(o *mirror.S3Options) { asOperator(t, "WRONG", "wrong"); o.KeyFile = old },
		"the environment":                        func(*mirror.S3Options) { asOperator(t, srv.AccessKey, srv.SecretKey) },
		"a profile": func(*mirror.S3Options) {
			asOperator(t, "", "")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", home)
			t.Setenv("AWS_PROFILE", "prod")
		},
		"and the endpoint too": func(o *mirror.S3Options) {
			asOperator(t, srv.AccessKey, srv.SecretKey)
			t.Setenv("AWS_ENDPOINT_URL_S3", srv.Endpoint)
			t.Setenv("AWS_REGION", "us-east-1")
			o.Endpoint = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(srv)
			set(&o)
			s := openS3(t, o)
			must(t, s.Put(t.Context(), "data/config/x", body("x")))
			holds(t, s, "data/config/x", "x")
		})
	}
}

// A server of one's own has a certificate of one's own.
func TestS3ServerWithAPrivateCertificate(t *testing.T) {
	asOperator(t, "id", "secret")
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	o := mirror.S3Options{Bucket: "b", Endpoint: srv.URL, PathStyle: true}
	_, err := openS3(t, o).Fetch(t.Context(), "k")
	refused(t, err, registry.ErrUnreachable, srv.URL, "certificate")

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}
	must(t, os.WriteFile(bundle, pem.EncodeToMemory(&block), 0o644))
	t.Setenv("AWS_CA_BUNDLE", bundle)
	holds(t, openS3(t, o), "k", "HTTP/1.1")
}
