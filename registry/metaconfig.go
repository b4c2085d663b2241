package registry

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	maxMetaconfig = 1 << 20 // bytes
	maxSections   = 1000
)

// MaxWait is the longest wait of a section.
const MaxWait = 24 * time.Hour

// Metaconfig tells a machine how to follow a name. There is one section in each that has been seen, but the format is a list.
type Metaconfig []Section

// Section is one thing to follow.
type Section struct {
	Kind          Kind          // Config or Serverset
	Pointer       Pointer       // what to watch
	Title         string        // config_section_name: the name once more, read by nobody
	Command       string        // what old monitors run on a change; ParseCommand understands it, nothing here runs it
	MaxWait       time.Duration // old monitors spread their downloads over so long; whole seconds
	AlertDisabled bool          // read by old monitors and then ignored
}

// NewMetaconfig is the metaconfig that the old tools make for n.
func NewMetaconfig(n Name) Metaconfig {
	return Metaconfig{{
		Kind:    n.Kind(),
		Pointer: n.Pointer(),
		Title:   string(n),
		Command: NewCommand(n).String(),
	}}
}

// Format is the body in the bytes of the old tools, whose keys come in the order of CPython 2.7's dict.
func (m Metaconfig) Format() ([]byte, error) {
	sections := make([]any, len(m))
	for i, s := range m {
		o := Object{
			{"type", s.Kind.String()},
			{"zk_path", string(s.Pointer)},
			{"config_section_name", s.Title},
			{"command", s.Command},
			{"max_wait_in_secs", int64(s.MaxWait / time.Second)},
		}
		if s.AlertDisabled {
			o = append(o, Field{"alert_disabled", "true"}) // a string: old monitors call lower() on it
		}
		sections[i] = o
	}
	return FormatJSON(sections)
}

// ParseMetaconfig reads a metaconfig that a tool or a person wrote. Of each section it insists on a path to watch and a known type;
// a missing type is config, a wait may be a number or a number in quotes, and keys that it does not know are dropped.
func ParseMetaconfig(data []byte) (Metaconfig, error) {
	if len(data) > maxMetaconfig {
		return nil, fmt.Errorf("metaconfig of %d bytes, at most %d: %w", len(data), maxMetaconfig, ErrTooLarge)
	}
	value, err := ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("metaconfig: %w", err)
	}
	list, ok := value.([]any)
	if !ok || len(list) == 0 || len(list) > maxSections {
		return nil, fmt.Errorf("metaconfig is not a list of 1 to %d sections: %w", maxSections, ErrInvalid)
	}
	m := make(Metaconfig, len(list))
	for i, value := range list {
		o, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("metaconfig section %d is not an object: %w", i+1, ErrInvalid)
		}
		if m[i], err = parseSection(o); err != nil {
			return nil, fmt.Errorf("metaconfig section %d: %w", i+1, err)
		}
	}
	return m, nil
}

func parseSection(o map[string]any) (Section, error) {
	var s Section
	for key, into := range map[string]*string{"config_section_name": &s.Title, "command": &s.Command} {
		if value, said := o[key]; said && value != nil {
			text, ok := value.(string)
			if !ok {
				return Section{}, fmt.Errorf("%s is not a string: %w", key, ErrInvalid)
			}
			*into = text
		}
	}
	path, _ := o["zk_path"].(string)
	var err error
	if s.Pointer, err = ParsePointer(path); err != nil {
		return Section{}, fmt.Errorf("zk_path: %w", err)
	}
	if s.Kind, err = parseSectionType(o["type"]); err != nil {
		return Section{}, err
	}
	if s.MaxWait, err = parseWait(o["max_wait_in_secs"]); err != nil {
		return Section{}, err
	}
	switch disabled := o["alert_disabled"].(type) {
	case bool:
		s.AlertDisabled = disabled
	case string:
		s.AlertDisabled = strings.EqualFold(disabled, "true")
	}
	return s, nil
}

func parseSectionType(value any) (Kind, error) {
	word, ok := value.(string)
	switch word = strings.ToLower(word); {
	case value == nil, word == "config":
		return Config, nil
	case word == "serverset":
		return Serverset, nil
	case ok:
		return 0, fmt.Errorf("type %.80q is neither config nor serverset: %w", word, ErrInvalid)
	}
	return 0, fmt.Errorf("type is not a string: %w", ErrInvalid)
}

// parseWait reads seconds. A fraction is cut off, as by Python's int(), and what is beyond a day or below nothing is brought back:
// a wait is no reason not to follow a name.
func parseWait(value any) (time.Duration, error) {
	var seconds float64
	switch value := value.(type) {
	case nil:
	case json.Number:
		seconds, _ = strconv.ParseFloat(string(value), 64) // the only error is overflow, and infinite is cut below
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("max_wait_in_secs %.40q is not a number: %w", value, ErrInvalid)
		}
		seconds = float64(n)
	default:
		return 0, fmt.Errorf("max_wait_in_secs is not a number: %w", ErrInvalid)
	}
	return time.Duration(math.Trunc(min(max(seconds, 0), MaxWait.Seconds()))) * time.Second, nil
}
