package mirror

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Python 2.7.18's ConfigParser was asked what it takes each for. What we take and it refuses is the one that is marked.
func TestKeyFileIsReadAsPythonReadIt(t *testing.T) {
	for _, c := range []struct{ name, text, id, secret string }{
		{"as documented", "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = s3/cr+t=\n", "AKIA", "s3/cr+t="},
		{"with colons and no blanks", "[Credentials]\naws_access_key_id:AKIA\naws_secret_access_key:a:b=c\n", "AKIA", "a:b=c"},
		{"with other sections", "[Boto]\nis_secure = False\naws_access_key_id = WRONG\n[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = s\n" +
			"[s3]\naws_secret_access_key = wrong\n", "AKIA", "s"},
		{"with comments", "# [x]\n[Credentials] ; here\n; no\nrem aws_access_key_id = WRONG\nREM x\naws_access_key_id = AKIA ; key\n" +
			"aws_secret_access_key = s#t\t; comment\n", "AKIA", "s#t"},
		{"with semicolons", "[Credentials]\naws_access_key_id = A;K ;x\naws_secret_access_key = s;t\t; u\n", "A;K ;x", "s;t\t; u"},
		{"with percent signs", "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = s%x%%y\n", "AKIA", "s%x%%y"},
		{"with quotes", "[Credentials]\naws_access_key_id = \"AKIA\"\naws_secret_access_key = 's'\n", `"AKIA"`, "'s'"},
		{"with capitals", "[Credentials]\nAWS_Access_Key_ID = AKIA\nAWS_SECRET_ACCESS_KEY = s\n", "AKIA", "s"},
		{"with a default", "[DEFAULT]\naws_access_key_id = AKIA\naws_secret_access_key = wrong\n[Credentials]\naws_secret_access_key = s\n", "AKIA", "s"},
		{"in two pieces, the last one counts", "[Credentials]\naws_access_key_id = OLD\n[x]\n[Credentials]\naws_secret_access_key = s\naws_access_key_id = AKIA\n", "AKIA", "s"},
		{"from Windows", "[Credentials]\r\naws_access_key_id = AKIA\r\naws_secret_access_key = s\r\n", "AKIA", "s"},
		{"from Windows, marked, indented, with garbage", "\ufeffx\r\n[Credentials]\r\n  aws_access_key_id = AKIA\r\nx\r\n  aws_secret_access_key = s\r\n", "AKIA", "s"},
		{"in another case", "[credentials]\naws_access_key_id = AKIA\naws_secret_access_key = s\n", "", ""},
		{"without a section", "aws_access_key_id = AKIA\naws_secret_access_key = s\n", "", ""},
		{"half", "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key =\n", "AKIA", ""},
		{"of another kind", "aws: {access: 1}\n[[[\n=\n:\n[\n]", "", ""},
		{"empty", "", "", ""},
	} {
		if id, secret := parseKeyFile(c.text); id != c.id || secret != c.secret {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, id, secret, c.id, c.secret)
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add("[Credentials]\naws_access_key_id = AKIA ; x\naws_secret_access_key: s")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret := parseKeyFile(text)
		for _, value := range []string{id, secret} {
			if !strings.Contains(text, value) || strings.ContainsAny(value, "\n") || strings.TrimSpace(value) != value {
				t.Errorf("%q is no value of %q", value, text)
			}
		}
	})
}

// Keys are changed by writing the file; nobody restarts a fleet for that, and a file that is being written is half a file.
func TestKeyFileMayBeChangedUnderUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aws.cfg")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("[Credentials]\naws_access_key_id = OLD\naws_secret_access_key = s\n")
		keys := aws.NewCredentialsCache(&keyFile{path: path})
		is := func(want string) {
			t.Helper()
			got, err := keys.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != want {
				t.Errorf("got key %q, %v, want %q", got.AccessKeyID, err, want)
			}
		}
		is("OLD")
		write("[Credentials]\naws_access_key_id = NEW\naws_secret_access_key = t\n")
		is("OLD") // for a while
		time.Sleep(keyFileAge + time.Second)
		is("NEW")
		write("[Credentials]\naws_access_key_id = NEXT\naws_sec")
		time.Sleep(keyFileAge + time.Second)
		is("NEW")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keyFileAge + time.Second)
		is("NEW")
		write("[Credentials]\naws_access_key_id = NEXT\naws_secret_access_key = u\n")
		time.Sleep(keyFileAge + time.Second)
		is("NEXT")
	})
}

func TestKeyFileWithoutEndIsNotRead(t *testing.T) {
	if _, err := (&keyFile{path: "/dev/zero"}).Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "/dev/zero") {
		t.Errorf("got %v, want a word about the file", err)
	}
}
