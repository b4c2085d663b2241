package mirror

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// maxKeyFile bounds the key file in bytes.
const maxKeyFile = 64 << 10

// readKeyFile reads the credentials from the INI file that the Python KingPin is given with --aws-key-file. Other sections, such as
// boto's own, are passed over.
func readKeyFile(path string) (id, secret string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("AWS key file: %w", err)
	}
	if len(data) > maxKeyFile {
		return "", "", fmt.Errorf("AWS key file %s: %d bytes: %w", path, len(data), registry.ErrTooLarge)
	}
	id, secret = parseKeyFile(data)
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("AWS key file %s: [Credentials] with aws_access_key_id and aws_secret_access_key is missing: %w",
			path, registry.ErrInvalid)
	}
	return id, secret, nil
}

// parseKeyFile takes what Python's ConfigParser takes: key = value or key: value, keys in any case, # and ; for comments.
func parseKeyFile(data []byte) (id, secret string) {
	section := ""
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		switch {
		case line == "", line[0] == '#', line[0] == ';':
			continue
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			continue
		case section != "Credentials":
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at < 0 {
			continue
		}
		value := strings.TrimSpace(line[at+1:])
		switch strings.ToLower(strings.TrimSpace(line[:at])) {
		case "aws_access_key_id":
			id = value
		case "aws_secret_access_key":
			secret = value
		}
	}
	return id, secret
}
