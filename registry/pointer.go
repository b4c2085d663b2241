package registry

import (
	"fmt"
	"strings"
)

// maxPointerLength bounds a path in bytes.
const maxPointerLength = 512

// Pointer is the path of a node that holds a version token: /config/manageddata/spam/blacklist or
// /metaconfig/metaconfig/config.manageddata.spam.blacklist. The bodies it points to are stored under keys made from it.
type Pointer string

// ParsePointer checks a path that somebody else wrote: a slash before each part, each part of letters, digits, -, _ and dots, and
// not starting with a dot.
func ParsePointer(s string) (Pointer, error) {
	if len(s) > maxPointerLength {
		return "", fmt.Errorf("path of %d bytes, at most %d: %w", len(s), maxPointerLength, ErrInvalid)
	}
	parts, ok := strings.CutPrefix(s, "/")
	if !ok {
		return "", fmt.Errorf("path %q does not start with a slash: %w", s, ErrInvalid)
	}
	for part := range strings.SplitSeq(parts, "/") {
		if strings.HasPrefix(part, ".") || !isWord(strings.ReplaceAll(part, ".", "_")) {
			return "", fmt.Errorf("path %q: part %q is not letters, digits, -, _ and dots: %w", s, part, ErrInvalid)
		}
	}
	return Pointer(s), nil
}

// Key is the S3 key of one version's body. Every dot becomes a slash, the token's too, and no slash leads: the old system
// wrote data/config/manageddata/spam/blacklist_1795296152/52 for version 1795296152.52.
func (p Pointer) Key(v Version) string {
	return strings.ReplaceAll("data"+string(p)+"_"+string(v), ".", "/")
}

// VersionOf is the version whose body is stored under key, the reverse of Key for tokens that are decimal seconds. Other keys begin alike:
// those of the name k_2 look like a version of the name k.
func (p Pointer) VersionOf(key string) (v Version, ok bool) {
	rest, ok := strings.CutPrefix(key, p.Key(""))
	if !ok {
		return "", false
	}
	seconds, decimals, ok := strings.Cut(rest, "/")
	if !ok || !isDigits(seconds) || !isDigits(decimals) {
		return "", false
	}
	v, err := ParseVersion(seconds + "." + decimals)
	return v, err == nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// IndexKey is the S3 key of the object that repeats the current version, for readers without ZooKeeper.
func (p Pointer) IndexKey() string {
	return strings.ReplaceAll("data"+string(p), ".", "/")
}
