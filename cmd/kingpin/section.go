package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// sectionKinds are the kinds of section that a configuration file may have, and their keys. One that is unknown is an error, not a
// comment: somebody believes that it does something.
func sectionKinds() map[string][]option {
	return map[string][]option{registry.Serverset.String(): guardOptions()}
}

// guardOptions are the keys of a section [serverset PATTERN].
func guardOptions() []option {
	rules := mirror.DefaultGuard()
	return []option{
		{name: "guard", value: true, usage: "hold back what a serverset cannot mean; off: its file shows what the registry does, at once"},
		{name: "guard-min-ratio", value: rules.MinRatio, word: "PART", usage: "a set smaller than this part of what it was is held"},
		{name: "guard-min-members", value: rules.MinMembers, word: "N", usage: "if it had at least so many members"},
		{name: "guard-release", value: rules.Release, word: "TIME", usage: "after how long without a change such a set is believed; an empty one never is"},
		{name: "guard-damping", value: rules.Damping, word: "TIME", usage: "how long a member must be gone before it leaves the file"},
	}
}

// section is one [WORD PATTERN] of the configuration, put together from all places where it stands.
type section struct {
	head    string // serverset discovery.*.dev
	kind    string
	pattern string
	set     *pflag.FlagSet
	sources map[string]string // of the keys that were said
}

// addTo puts a line of a section to the others of its section. The first place of a section is its place: the first that matches a
// name counts.
func (l confLine) addTo(all []section) ([]section, error) {
	i := slices.IndexFunc(all, func(s section) bool { return s.head == l.section })
	if i < 0 {
		kind, pattern, _ := strings.Cut(l.section, " ")
		keys, known := sectionKinds()[kind]
		if !known {
			return all, fmt.Errorf("%s: unknown section [%s]", l.place(), l.section)
		}
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.Contains(pattern, " ") {
			return all, fmt.Errorf("%s: section [%s]: %q is no pattern such as discovery.*.dev", l.place(), l.section, pattern)
		}
		i = len(all)
		all = append(all, section{head: l.section, kind: kind, pattern: pattern, set: flagSet(keys), sources: map[string]string{}})
	}
	if l.key == "" {
		return all, nil // the line with its name
	}
	return all, all[i].take(l)
}

func (s section) take(l confLine) error {
	f := s.set.Lookup(l.key)
	if f == nil {
		err := fmt.Errorf("%s: unknown key %q in section [%s]", l.place(), l.key, s.head)
		var keys []string
		s.set.VisitAll(func(f *pflag.Flag) { keys = append(keys, f.Name) })
		if near, ok := registry.Nearest(l.key, keys); ok {
			err = fmt.Errorf("%w, nearest: %s", err, near)
		}
		return err
	}
	value := l.value
	if f.Value.Type() == "bool" {
		value = booleanWord(value)
	}
	if err := f.Value.Set(value); err != nil {
		return fmt.Errorf("%s: %s: %q: %w", l.place(), l.key, l.value, err)
	}
	if _, err := s.rules(); err != nil {
		return fmt.Errorf("%s: %w", l.place(), err)
	}
	s.sources[l.key] = l.place()
	return nil
}

// rules of the guard, from a section [serverset PATTERN].
func (s section) rules() (mirror.GuardRules, error) {
	on, _ := s.set.GetBool("guard")
	var r mirror.GuardRules
	r.Off = !on
	r.MinRatio, _ = s.set.GetFloat64("guard-min-ratio")
	r.MinMembers, _ = s.set.GetInt("guard-min-members")
	r.Release, _ = s.set.GetDuration("guard-release")
	r.Damping, _ = s.set.GetDuration("guard-damping")
	switch {
	case !(r.MinRatio >= 0 && r.MinRatio <= 1): // nor is NaN
		return r, fmt.Errorf("guard-min-ratio %v is not from 0 to 1", r.MinRatio)
	case r.MinMembers < 1:
		return r, fmt.Errorf("guard-min-members %d is not 1 or more", r.MinMembers)
	case r.Release < 0:
		return r, fmt.Errorf("guard-release %v is less than nothing", r.Release)
	case r.Damping < 0:
		return r, fmt.Errorf("guard-damping %v is less than nothing", r.Damping)
	}
	return r, nil
}

// guard is the rules for each serverset: those of the first section that matches its name.
func (r resolved) guard() func(registry.Name) mirror.GuardRules {
	type rule struct {
		pattern string
		rules   mirror.GuardRules
	}
	var all []rule
	for _, s := range r.sections {
		rules, _ := s.rules() // checked line by line
		all = append(all, rule{s.pattern, rules})
	}
	return func(name registry.Name) mirror.GuardRules {
		for _, one := range all {
			if ok, _ := path.Match(one.pattern, string(name)); ok {
				return one.rules
			}
		}
		return mirror.DefaultGuard()
	}
}

// said are the keys of the section that were said, in their usual order.
func (s section) said() (list []setValue) {
	for _, o := range sectionKinds()[s.kind] {
		if source := s.sources[o.name]; source != "" {
			list = append(list, setValue{Key: o.name, Value: s.text(o), Source: source})
		}
	}
	return list
}

func (s section) text(o option) string {
	text := s.set.Lookup(o.name).Value.String()
	if _, boolean := o.value.(bool); boolean {
		text = map[string]string{"true": "on", "false": "off"}[text]
	}
	return text
}

// print writes the section as a file that means the same.
func (s section) print(w io.Writer) {
	fmt.Fprintf(w, "[%s]\n", s.head)
	width := 0
	for _, v := range s.said() {
		width = max(width, len(fmt.Sprintf("%s = %s", v.Key, v.Value)))
	}
	for _, v := range s.said() {
		fmt.Fprintf(w, "%-*s  # %s\n", width, fmt.Sprintf("%s = %s", v.Key, v.Value), v.Source)
	}
}

// lines are the section as --section takes it.
func (s section) lines() []string {
	lines := []string{"[" + s.head + "]"}
	for _, v := range s.said() {
		lines = append(lines, fmt.Sprintf("%s = %s", v.Key, v.Value))
	}
	return lines
}

// sectionOption hands sections to another process of ours: each value is a line of a configuration file.
func sectionOption() option {
	return option{name: "section", value: []string{}, word: "LINE", usage: "a line of a section, or its [WORD PATTERN]", hidden: true}
}
