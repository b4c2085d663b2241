package mirror

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	// maxKeyFile bounds the key file in bytes.
	maxKeyFile = 64 << 10

	// keyFileAge is how long what was read from a key file is used before it is read again. The Python KingPin read it for each
	// download, so whoever changes keys expects to be done when he has written the file.
	keyFileAge = time.Minute
)

// keyFile hands the SDK the credentials of the INI file that the Python KingPin is given with --aws-key-file. Its other sections,
// such as boto's own, are passed over.
type keyFile struct {
	path string

	mu   sync.Mutex
	last aws.Credentials // the last good ones
}

// Retrieve reads the file. A file that is gone or half written later on keeps nobody from using what was read before.
func (k *keyFile) Retrieve(context.Context) (aws.Credentials, error) {
	id, secret, err := readKeyFile(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.last = aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, Source: k.path, CanExpire: true}
	} else if !k.last.HasKeys() {
		return aws.Credentials{}, err
	}
	k.last.Expires = time.Now().Add(keyFileAge)
	return k.last, nil
}

func readKeyFile(path string) (id, secret string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", "", fmt.Errorf("AWS key file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return "", "", fmt.Errorf("AWS key file: %w", err)
	}
	if len(data) > maxKeyFile {
		return "", "", fmt.Errorf("AWS key file %s: more than %d bytes: %w", path, maxKeyFile, registry.ErrTooLarge)
	}
	id, secret = parseKeyFile(string(data))
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("AWS key file %s: [Credentials] with aws_access_key_id and aws_secret_access_key is missing: %w",
			path, registry.ErrInvalid)
	}
	return id, secret, nil
}

// parseKeyFile takes what Python 2.7's ConfigParser takes, as far as it makes sense for a key: sections by their exact name, also in
// several pieces, key = value or key: value with keys in any case, the last one counts, # and ; and rem for comments, a blank
// and a semicolon for one behind a value unless the value has a semicolon, and [DEFAULT] for what a section does not say. It also
// takes what Python refuses: a byte order mark, indented keys, lines that say nothing.
func parseKeyFile(text string) (id, secret string) {
	sections := map[string]map[string]string{"DEFAULT": {}, "Credentials": {}}
	var section map[string]string
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSpace(line)
		word, _, _ := strings.Cut(line, " ")
		if line == "" || line[0] == '#' || line[0] == ';' || strings.EqualFold(word, "rem") {
			continue
		}
		if header, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ := strings.Cut(header, "]")
			section = sections[name] // nil for the others
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at < 0 || section == nil {
			continue
		}
		value := strings.TrimSpace(line[at+1:])
		if end := strings.IndexByte(value, ';'); end > 0 && (value[end-1] == ' ' || value[end-1] == '\t') {
			value = strings.TrimSpace(value[:end])
		}
		section[strings.ToLower(strings.TrimSpace(line[:at]))] = value
	}
	value := func(key string) string {
		if v, ok := sections["Credentials"][key]; ok {
			return v
		}
		return sections["DEFAULT"][key]
	}
	return value("aws_access_key_id"), value("aws_secret_access_key")
}
