package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

const name registry.Name = "config.schema.manageddata.api.limits"

const limits = `{
	"type": "object",
	"properties": {"search": {"type": "integer", "minimum": 0}, "mail": {"format": "email"}, "zone": {"pattern": "^[a-z]+$"}},
	"required": ["search"],
	"additionalProperties": false
}`

func TestCheck(t *testing.T) {
	s, err := Compile(name, []byte(limits))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		body string
		says []string // none: it is good
	}{
		{`{"search": 5}`, nil},
		{`{"search": 5, "mail": "a@b.c", "zone": "eu"}` + "\n", nil},
		{`{"search": 10000000000000000000000000}`, nil},
		{`{"search": "5"}`, []string{"at '/search': got string, want integer", "(" + string(name) + ")"}},
		{`{"search": -1}`, []string{"at '/search': minimum: got -1, want 0"}},
		{`{"search": 1, "zone": "EU"}`, []string{"at '/zone': 'EU' does not match pattern '^[a-z]+$'"}},
		{`{"search": 1, "mail": "nobody"}`, []string{"at '/mail': 'nobody' is not valid email"}},
		{`{}`, []string{"at the top: missing property 'search'"}},
		{`{"search": 1, "serach": 2}`, []string{"additional properties 'serach' not allowed"}},
		{`[]`, []string{"at the top: got array, want object"}},
		{`{"search": NaN}`, []string{"/search"}},
		{`{"search": 1e999999999}`, []string{""}},
		{`not json`, []string{"asks for JSON"}},
		{``, []string{"asks for JSON"}},
		{strings.Repeat("[", 200) + strings.Repeat("]", 200), []string{"nested deeper than 128"}},
	} {
		err := s.Check([]byte(tt.body))
		if tt.says == nil {
			if err != nil {
				t.Errorf("%s: %v", tt.body, err)
			}
			continue
		}
		if !errors.Is(err, registry.ErrInvalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: %v", tt.body, err)
			continue
		}
		for _, words := range tt.says {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%.80s: %q, want %q in it", tt.body, err, words)
			}
		}
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	s, err := Compile(name, []byte(`{"items": {"type": "string"}}`))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Check([]byte(`[1, 2, 3, 4, 5, 6, 7]`))
	if err == nil || !strings.Contains(err.Error(), "at '/4': got number, want string; and 2 more") {
		t.Error(err)
	}
}

func TestSchemasThatAreNone(t *testing.T) {
	for body, says := range map[string]string{
		`{"type": "strnig"}`:                        "no JSON Schema: at '/type'",
		`{"type": `:                                 "JSON ends",
		`[]`:                                        "no JSON Schema",
		`{"$ref": "https://example.com/x.json"}`:    "nothing is fetched",
		`{"$ref": "file:///etc/passwd"}`:            "nothing is fetched",
		`{"$ref": "other.json"}`:                    "nothing is fetched",
		`{"$schema": "https://example.com/schema"}`: "nothing is fetched",
		`{"$ref": "#/$defs/none"}`:                  "no JSON Schema",
		`{"pattern": "("}`:                          "no JSON Schema",
		`{"pattern": "(?=a)"}`:                      "no JSON Schema",
		`{"pattern": "(((a{50}){50}){50})"}`:        "no JSON Schema",
		`{"$comment": "` + strings.Repeat("x", MaxSize) + `"}`:           "at most 65536",
		strings.Repeat(`{"not":`, 200) + `{}` + strings.Repeat("}", 200): "nested deeper",
	} {
		_, err := Compile(name, []byte(body))
		if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%.80s: %v, want %q", body, err, says)
		}
	}
}

// TestHostileSchemasEnd: what would take for ever is given up.
func TestHostileSchemasEnd(t *testing.T) {
	twice := func(how, last string) string { // each level asks twice for the next
		var b strings.Builder
		b.WriteString(`{"$ref": "#/$defs/d0", "$defs": {`)
		for i := range 60 {
			fmt.Fprintf(&b, `"d%d": {%q: [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]}, `, i, how, i+1, i+1)
		}
		fmt.Fprintf(&b, `"d60": %s}}`, last)
		return b.String()
	}
	deep := strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat("}", 100)
	for what, tt := range map[string]struct{ schema, body string }{
		"all of good ones":  {twice("allOf", `{}`), `{}`},
		"all of bad ones":   {twice("allOf", `{"type": "string"}`), `{}`},
		"any of bad ones":   {twice("anyOf", `{"type": "string"}`), `{}`},
		"any of false":      {twice("anyOf", `false`), `{}`},
		"one of good ones":  {twice("oneOf", `true`), `{}`},
		"twice at a level":  {`{"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}`, deep},
		"twice, and bad":    {`{"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["b"]}, {"properties": {"a": {"$ref": "#"}}, "required": ["c"]}]}`, deep},
		"itself":            {`{"$ref": "#"}`, `{}`},
		"a slow expression": {`{"pattern": "(a|b|ab){600}c"}`, `"` + strings.Repeat("ab", 4<<20) + `"`},
	} {
		s, err := Compile(name, []byte(tt.schema))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err := s.Check([]byte(tt.body)); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		} else {
			t.Logf("%s: %.150v", what, err)
		}
	}
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(limits), []byte(`{"search": 5}`))
	f.Add([]byte(`{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}}`), []byte(`[1, "x", null]`))
	f.Add([]byte(`{"unevaluatedItems": {"$dynamicRef": "#x"}, "$dynamicAnchor": "x", "format": "regex"}`), []byte(`["("]`))
	f.Fuzz(func(t *testing.T, schema, body []byte) {
		s, err := Compile(name, schema)
		if err != nil {
			if !errors.Is(err, registry.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if err := s.Check(body); err != nil && !errors.Is(err, registry.ErrInvalid) {
			t.Fatal(err)
		}
	})
}
