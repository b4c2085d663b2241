// Package schema faces JSON Schemas: it compiles one that somebody published, and says whether a body is what it asks for.
//
// A schema is untrusted input, like everything that is published. It is whole in itself: a $ref that leads out of it is
// refused, and nothing is ever loaded from a network or a disk. Its size, the nesting of what it judges and the work of judging it
// are bounded, and its regular expressions are Go's, which take linear time.
package schema

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	// MaxSize is how large a schema may be, in bytes.
	MaxSize = 64 << 10
	// maxDepth is how deep the bodies that are judged may be nested: what a schema does at each level it does on a stack.
	maxDepth = 128
	// minSteps and valueSteps are how many comparisons of a value with a part of the schema a judgement may take: so many, and so many
	// more for each value in the body.
	minSteps   = 1 << 18
	valueSteps = 16
	// maxProgram is how many instructions a regular expression may come to, and patternStep how many of them, each for a byte that is
	// looked at, count as a step.
	maxProgram  = 4096
	patternStep = 1024
	// maxReasons is how many of a body's faults are named.
	maxReasons = 5
)

// Schema is a compiled one. It may be used by many goroutines, which take turns.
type Schema struct {
	name  registry.Name
	mu    sync.Mutex
	root  *jsonschema.Schema
	steps int // left in the judgement under way
}

// Compile reads the JSON Schema that was published as name; ErrInvalid. Without $schema it is one of draft 2020-12. Formats
// (date-time, uri, ...) are enforced.
func Compile(name registry.Name, body []byte) (*Schema, error) {
	if len(body) > MaxSize {
		return nil, fmt.Errorf("a JSON Schema of %d bytes, at most %d: %w", len(body), MaxSize, registry.ErrInvalid)
	}
	document, err := registry.ParseJSON(body)
	if err != nil {
		return nil, err
	}
	if deepest, _ := extent(document); deepest > maxDepth {
		return nil, fmt.Errorf("a JSON Schema that is nested deeper than %d: %w", maxDepth, registry.ErrInvalid)
	}
	s := &Schema{name: name}
	var parts []*jsonschema.Schema
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(nothing{})
	compiler.UseRegexpEngine(s.pattern)
	compiler.AssertFormat()
	compiler.AssertVocabs()
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: location(name) + "/parts",
		Compile: func(c *jsonschema.CompilerContext, _ map[string]any) (jsonschema.SchemaExt, error) {
			parts = append(parts, c.Enqueue(nil))
			return nil, nil
		}})
	err = guarded(func() (err error) {
		if err = compiler.AddResource(location(name), document); err == nil {
			s.root, err = compiler.Compile(location(name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("no JSON Schema: %s: %w", reasons(err, location(name)), registry.ErrInvalid)
	}
	for _, part := range parts {
		s.count(part)
	}
	return s, nil
}

// location is the address of a schema within itself. Nothing is there.
func location(name registry.Name) string { return "https://schema.invalid/" + string(name) }

// nothing is what can be loaded from outside.
type nothing struct{}

func (nothing) Load(string) (any, error) {
	return nil, fmt.Errorf("a schema is whole in itself, nothing is fetched for it")
}

// count has every comparison of a value with a part of the schema counted, before it does anything that could take long.
func (s *Schema) count(part *jsonschema.Schema) {
	counted := jsonschema.Format{Name: "any", Validate: func(any) error { return nil }}
	if part.Format != nil {
		counted = *part.Format
	}
	judge := counted.Validate
	if counted.Name == "regex" {
		counted.Name = "pattern" // or ours would not be asked
		judge = func(v any) error {
			text, ok := v.(string)
			if !ok {
				return nil
			}
			_, err := s.pattern(text)
			return err
		}
	}
	counted.Validate = func(v any) error {
		s.spend(1)
		return judge(v)
	}
	part.Format = &counted
}

// tooMuch ends a judgement from within.
type tooMuch struct{}

func (s *Schema) spend(steps int) {
	if s.steps -= steps; s.steps < 0 {
		panic(tooMuch{})
	}
}

// pattern is a regular expression that pays for what it does.
type pattern struct {
	*regexp.Regexp
	schema *Schema
	size   int
}

func (s *Schema) pattern(text string) (jsonschema.Regexp, error) {
	if len(text) > maxProgram {
		return nil, fmt.Errorf("a regular expression of %d bytes, at most %d", len(text), maxProgram)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > maxProgram {
		return nil, fmt.Errorf("a regular expression of %d instructions, at most %d", len(program.Inst), maxProgram)
	}
	compiled, err := regexp.Compile(text)
	return pattern{compiled, s, len(program.Inst)}, err
}

func (p pattern) MatchString(text string) bool {
	p.schema.spend(len(text) / patternStep * p.size)
	return p.Regexp.MatchString(text)
}

// Check says in words what of a body is not as the schema wants it, each fault with its path; ErrInvalid.
func (s *Schema) Check(body []byte) error {
	value, err := registry.ParseJSON(body)
	if err != nil {
		return fmt.Errorf("%s asks for JSON: %w", s.name, err)
	}
	deepest, values := extent(value)
	if deepest > maxDepth {
		return fmt.Errorf("nested deeper than %d, which %s cannot judge: %w", maxDepth, s.name, registry.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = minSteps + valueSteps*values
	if err := guarded(func() error { return s.root.Validate(value) }); err != nil {
		return fmt.Errorf("%s (%s): %w", reasons(err, location(s.name)), s.name, registry.ErrInvalid)
	}
	return nil
}

// guarded turns a panic into an error: what is judged comes from anywhere, and a number may be too large to be one.
func guarded(judge func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case tooMuch:
			err = fmt.Errorf("to judge it takes too long: the schema asks too much of so large a body")
		default:
			err = fmt.Errorf("it cannot be judged: %v", p)
		}
	}()
	return judge()
}

// extent is how deep a value is nested, and how many values it consists of.
func extent(value any) (depth, values int) {
	add := func(part any) {
		d, n := extent(part)
		depth, values = max(depth, 1+d), values+n
	}
	switch value := value.(type) {
	case map[string]any:
		for _, part := range value {
			add(part)
		}
	case []any:
		for _, part := range value {
			add(part)
		}
	}
	return depth, values + 1
}

// reasons are the first faults of an error of the library, which has a line for each, in one line.
func reasons(err error, location string) string {
	text := strings.ReplaceAll(strings.ReplaceAll(err.Error(), location+"#", ""), location, "the schema")
	first, rest, more := strings.Cut(text, "\n")
	if !more {
		return first
	}
	var faults []string
	for line := range strings.Lines(rest) {
		fault := strings.TrimLeft(strings.TrimSuffix(line, "\n"), " -")
		if strings.HasSuffix(fault, "Of' failed") {
			continue // allOf, anyOf: why follows
		}
		if strings.HasPrefix(fault, "at ''") {
			fault = "at the top" + strings.TrimPrefix(fault, "at ''")
		}
		faults = append(faults, fault)
	}
	if len(faults) > maxReasons {
		faults = append(faults[:maxReasons], fmt.Sprintf("and %d more", len(faults)-maxReasons))
	}
	return strings.Join(faults, "; ")
}
