package mirror_test

import (
	"testing"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

func options(s *server.S3Server) mirror.S3Options {
	return mirror.S3Options{Bucket: s.Bucket, Endpoint: s.Endpoint, PathStyle: true}
}

// asOperator is the environment of a process that has these credentials, and nothing from this machine.
func asOperator(t testing.TB, key, secret string) {
	t.Helper()
	nowhere := t.TempDir() + "/none"
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
	} {
		t.Setenv(name, value)
	}
}

// openS3 opens a store until the test ends.
func openS3(t testing.TB, o mirror.S3Options) *mirror.S3 {
	t.Helper()
	s, err := mirror.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
