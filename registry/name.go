package registry

import (
	"fmt"
	"strings"
)

// Kind says which directory of the tree a file lives in.
type Kind uint8

const (
	Config    Kind = iota + 1 // a body published as immutable versions
	Serverset                 // the endpoints of one service in one environment
	Decider                   // one key of the decider map, shown as a file; not a name of the registry
)

// String is the name of the directory: config, serverset or decider.
func (k Kind) String() string {
	switch k {
	case Config:
		return "config"
	case Serverset:
		return "serverset"
	case Decider:
		return "decider"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// DeciderName is the config that holds every decider, as one JSON object of name to percent.
const DeciderName Name = "config.manageddata.admin.decider"

// BaseDependency is followed by every machine, when it exists.
const BaseDependency Dependency = "base.dep"

// maxNameLength leaves room for the suffixes of temporary files within the 255 bytes of a file name.
const maxNameLength = 200

// Name is a config or a serverset, dotted and in full: config.manageddata.spam.blacklist, discovery.user.prod. It is the
// file name on the mount, the name of the metaconfig znode, and with its dots as slashes the path of its own znode.
type Name string

// ParseName checks that s is a well-formed name: config.* of at least two parts or discovery.* of at least three, each part
// of letters, digits, - and _.
func ParseName(s string) (Name, error) {
	parts := strings.Split(s, ".")
	switch {
	case len(s) > maxNameLength:
		return "", fmt.Errorf("name of %d bytes, at most %d: %w", len(s), maxNameLength, ErrInvalid)
	case parts[0] == "config" && len(parts) >= 2, parts[0] == "discovery" && len(parts) >= 3:
	default:
		return "", fmt.Errorf("name %q is neither config.DOMAIN... nor discovery.SERVICE.ENVIRONMENT: %w", s, ErrInvalid)
	}
	for _, part := range parts {
		if !isWord(part) {
			return "", fmt.Errorf("name %q: part %q is not letters, digits, - and _: %w", s, part, ErrInvalid)
		}
	}
	if strings.HasSuffix(s, ".dep") || strings.HasSuffix(s, ".lock") {
		return "", fmt.Errorf("name %q ends like a dependency or a lock: %w", s, ErrInvalid)
	}
	return Name(s), nil
}

// Kind of a name that ParseName accepted: Config or Serverset.
func (n Name) Kind() Kind {
	if strings.HasPrefix(string(n), "discovery.") {
		return Serverset
	}
	return Config
}

// ManagedData says whether the name has the four parts config.manageddata.DOMAIN.KEY.
func (n Name) ManagedData() bool {
	return strings.HasPrefix(string(n), "config.manageddata.") && strings.Count(string(n), ".") == 3
}

// schemaPrefix is what the configs that hold JSON Schemas begin with.
const schemaPrefix = "config.schema."

// Schema is the config whose body is the JSON Schema of this one's, if somebody made it: config.schema.manageddata.api.limits for
// config.manageddata.api.limits. Schemas themselves and serversets have none.
func (n Name) Schema() (schema Name, ok bool) {
	rest, isConfig := strings.CutPrefix(string(n), "config.")
	if !isConfig || n.IsSchema() || len(schemaPrefix)+len(rest) > maxNameLength {
		return "", false
	}
	return Name(schemaPrefix + rest), true
}

// IsSchema says whether the name is that of a JSON Schema.
func (n Name) IsSchema() bool { return strings.HasPrefix(string(n), schemaPrefix) }

// Pointer is where the registry keeps the current version of a config, and the parent of a serverset's members.
func (n Name) Pointer() Pointer {
	return Pointer("/" + strings.ReplaceAll(string(n), ".", "/"))
}

// Metaconfig is the pointer to the JSON that tells a machine how to follow the name. It keeps the dots of the name.
func (n Name) Metaconfig() Pointer {
	return Pointer("/metaconfig/metaconfig/" + string(n))
}

// Dependency is a named set of subscriptions: web.dep.
type Dependency string

// ParseDependency checks that s is a well-formed dependency: letters, digits, -, _ and dots, ending in .dep.
func ParseDependency(s string) (Dependency, error) {
	base, ok := strings.CutSuffix(s, ".dep")
	if !ok {
		return "", fmt.Errorf("dependency %q does not end in .dep: %w", s, ErrInvalid)
	}
	if len(s) > maxNameLength {
		return "", fmt.Errorf("dependency of %d bytes, at most %d: %w", len(s), maxNameLength, ErrInvalid)
	}
	for part := range strings.SplitSeq(base, ".") {
		if !isWord(part) {
			return "", fmt.Errorf("dependency %q: part %q is not letters, digits, - and _: %w", s, part, ErrInvalid)
		}
	}
	return Dependency(s), nil
}

// Pointer is the dependency's node, whose children are its edges.
func (d Dependency) Pointer() Pointer {
	return Pointer("/metaconfig/dependency/" + string(d))
}

// Edge is one member of a dependency: a name, or another dependency.
type Edge string

// ParseEdge checks that s is a well-formed name or dependency.
func ParseEdge(s string) (Edge, error) {
	if strings.HasSuffix(s, ".dep") {
		d, err := ParseDependency(s)
		return Edge(d), err
	}
	n, err := ParseName(s)
	return Edge(n), err
}

// Dependency returns the nested dependency that the edge leads to; ok is false if it leads to a name.
func (e Edge) Dependency() (d Dependency, ok bool) {
	return Dependency(e), strings.HasSuffix(string(e), ".dep")
}

// Name returns the name that the edge leads to; ok is false if it leads to a dependency.
func (e Edge) Name() (n Name, ok bool) {
	return Name(e), !strings.HasSuffix(string(e), ".dep")
}

// ParseDeciderName checks the name of one decider: lower-case letters, digits, -, _ and dots, not starting with a dot.
func ParseDeciderName(s string) (string, error) {
	if s == "" || s[0] == '.' || len(s) > maxNameLength {
		return "", fmt.Errorf("decider name %q: %w", s, ErrInvalid)
	}
	for _, c := range []byte(s) {
		if c != '.' && (!isWordByte(c) || c >= 'A' && c <= 'Z') {
			return "", fmt.Errorf("decider name %q is not lower-case letters, digits, -, _ and dots: %w", s, ErrInvalid)
		}
	}
	return s, nil
}

func isWord(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return true
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
