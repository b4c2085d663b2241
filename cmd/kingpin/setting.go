package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// defaultConf is the monitor's configuration file; files of defaultConf.d come after it.
const defaultConf = "/etc/kingpin/kingpin.conf"

// settings are the monitor's flags, as data: each is also a key of the configuration file and, in capitals behind KINGPIN_, a
// variable of the environment. The order is that of help and of --print-config.
func settings() []option {
	own := []option{
		{name: "dependency", value: []string{string(registry.BaseDependency)}, word: "NAME", usage: "what this machine follows, with " + string(registry.BaseDependency) + " always (repeatable)"},
		{name: "mount", value: "/var/kingpin", word: "PATH", usage: "where to mount"},
		{name: "state", value: "/var/lib/kingpin", word: "PATH", usage: "where to keep the versions, the plain files and the embedded registry"},
		{name: "no-mount", value: false, usage: "keep the same tree as plain files in the state directory; needs neither FUSE nor privilege"},
		{name: "read-only", value: false, usage: "publish nothing: no w bits, and EROFS to root too"},
		{name: "publish-group", value: "", word: "GROUP", usage: "whose members may publish; empty: only root"},
		{name: "create-by-write", value: true, usage: "writing a well-formed name that does not exist creates it; false with zookeeper unless said"},
		{name: "notify", value: []string(nil), word: "DIR=rename", usage: "announce versions in config, serverset or decider by a rename (IN_MOVED_TO) instead of a close after writing, for programs that react to that alone (repeatable)"},
		{name: "max-body", value: size(16 << 20), word: "SIZE", usage: "the largest config that is published and followed"},
		{name: "max-versions-per-minute", value: strconv.Itoa(mirror.DefaultMaxVersions), word: "N", usage: "refuse more versions of one name from this machine within a minute; 0: any number"},
		{name: "admin", value: "127.0.0.1:9898", word: "ADDRESS", usage: "answer questions over HTTP, GET alone, at HOST:PORT or unix:PATH; off: nowhere"},
		{name: "metrics", value: "", word: "ADDRESS", usage: "a second address that answers /metrics, /healthz and /readyz alone and names nothing, for other machines"},
		{name: "pprof", value: false, usage: "profiles of the server at the admin address"},
		{name: "log-level", value: "info", word: "LEVEL", choices: []string{"debug", "info", "warn", "error"}, usage: "debug, info, warn or error"},
		{name: "log-format", value: "auto", word: "FORMAT", choices: []string{"auto", "text", "logfmt", "json"}, usage: "text, logfmt or json; auto: text on a terminal, else logfmt"},
	}
	at := slices.IndexFunc(own, func(o option) bool { return o.name == "max-body" })
	return slices.Concat(own[:at], fleetOptions(), own[at:])
}

// resolved are the effective values of all settings, and where each came from.
type resolved struct {
	set      *pflag.FlagSet
	sources  map[string][]string // one a value
	sections []section
}

// resolve takes each setting from the flags, else the environment, else the files, else its default.
func resolve(flags *pflag.FlagSet, lines []confLine, environ func(string) (string, bool)) (resolved, error) {
	r := resolved{set: flagSet(settings()), sources: map[string][]string{}}
	if err := r.fromFiles(lines); err != nil {
		return r, err
	}
	for _, o := range settings() {
		variable := "KINGPIN_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
		if text, ok := environ(variable); ok && text != "" {
			values := []string{text}
			if _, list := o.value.([]string); list {
				values = strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
			}
			if err := r.replace(o, values, slices.Repeat([]string{"environment " + variable}, len(values))); err != nil {
				return r, fmt.Errorf("%s: %w", variable, err)
			}
		}
		if f := flags.Lookup(o.name); f != nil && f.Changed {
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			if err := r.replace(o, values, slices.Repeat([]string{"flag"}, len(values))); err != nil {
				return r, fmt.Errorf("--%s: %w", o.name, err)
			}
		}
	}
	if err := r.takeSections(flags, lines); err != nil {
		return r, err
	}
	return r, r.inFleet()
}

// takeSections reads the sections of the files, and those that the keeper hands on.
func (r *resolved) takeSections(flags *pflag.FlagSet, lines []confLine) (err error) {
	if handed, _ := flags.GetStringArray("section"); len(handed) > 0 {
		more, err := parseConf("--section", strings.NewReader(strings.Join(handed, "\n")))
		if err != nil {
			return err
		}
		lines = append(slices.Clone(lines), more...)
	}
	for _, l := range lines {
		switch {
		case l.section != "":
			if r.sections, err = l.addTo(r.sections); err != nil {
				return err
			}
		case l.file == "--section":
			return fmt.Errorf("%s: %s is in no section", l.place(), l.key)
		}
	}
	return nil
}

// inFleet replaces the defaults that are for a machine by itself: nobody becomes part of a fleet with what he did not choose.
func (r resolved) inFleet() error {
	if r.set.Lookup("zookeeper").Value.String() == "" && r.set.Lookup("zookeeper-hosts-file").Value.String() == "" {
		return nil
	}
	for _, o := range settings() {
		var values []string
		switch {
		case r.sources[o.name] != nil:
			continue
		case o.name == "dependency":
		case o.name == "create-by-write":
			values = []string{"false"}
		default:
			continue
		}
		if err := r.replace(o, values, slices.Repeat([]string{"default with zookeeper"}, len(values))); err != nil {
			return err
		}
	}
	return nil
}

// fromFiles takes the last value of each key; a list takes all, from the last line that empties it.
func (r resolved) fromFiles(lines []confLine) error {
	lists, places := map[string][]string{}, map[string][]string{}
	for _, l := range lines {
		if l.section != "" {
			continue // see takeSections
		}
		i := slices.IndexFunc(settings(), func(o option) bool { return o.name == l.key })
		if i < 0 {
			err := fmt.Errorf("%s: unknown key %q", l.place(), l.key)
			if near, ok := registry.Nearest(l.key, settingNames()); ok {
				err = fmt.Errorf("%w, nearest: %s", err, near)
			}
			return err
		}
		o := settings()[i]
		values, sources := []string{l.value}, []string{l.place()}
		if _, list := o.value.([]string); list {
			values, sources = append(lists[o.name], values...), append(places[o.name], sources...)
			if l.value == "" {
				values, sources = nil, nil
			}
			lists[o.name], places[o.name] = values, sources
		}
		if err := r.replace(o, values, sources); err != nil {
			return fmt.Errorf("%s: %s: %w", l.place(), l.key, err)
		}
	}
	return nil
}

// replace gives a setting new values and remembers where each came from.
func (r resolved) replace(o option, values, sources []string) error {
	f := r.set.Lookup(o.name)
	if list, ok := f.Value.(pflag.SliceValue); ok {
		r.sources[o.name] = sources
		return list.Replace(values)
	}
	value := values[len(values)-1]
	if _, boolean := o.value.(bool); boolean {
		value = booleanWord(value)
	}
	if err := o.check(value); err != nil {
		return err
	}
	if err := f.Value.Set(value); err != nil {
		return fmt.Errorf("%q: %w", value, err)
	}
	r.sources[o.name] = sources
	return nil
}

// booleanWord lets people write yes and no, on and off.
func booleanWord(word string) string {
	switch strings.ToLower(word) {
	case "yes", "on":
		return "true"
	case "no", "off":
		return "false"
	}
	return word
}

func settingNames() []string {
	var names []string
	for _, o := range settings() {
		names = append(names, o.name)
	}
	return names
}

// setValue is a member of kingpin monitor --print-config -o json.
type setValue struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`  // a string, a boolean or a list of strings
	Source string `json:"source"` // default, flag, environment VARIABLE, or FILE:LINE; of a list one or more, with commas
}

func (r resolved) list() []setValue {
	var list []setValue
	for _, o := range settings() {
		v := setValue{Key: o.name, Source: strings.Join(slices.Compact(slices.Clone(r.sources[o.name])), ", ")}
		if v.Source == "" {
			v.Source = "default"
		}
		switch o.value.(type) {
		case bool:
			v.Value, _ = r.set.GetBool(o.name)
		case []string:
			v.Value, _ = r.set.GetStringArray(o.name)
		default:
			v.Value = r.set.Lookup(o.name).Value.String()
		}
		list = append(list, v)
	}
	return list
}

// print writes the effective configuration as a file that means the same.
func (r resolved) print(w io.Writer) {
	var lines [][2]string
	width, longest := 0, 0
	for _, name := range settingNames() {
		longest = max(longest, len(name))
	}
	for _, v := range r.list() {
		values, ok := v.Value.([]string)
		if !ok {
			values = []string{fmt.Sprint(v.Value)}
		}
		for i, value := range values {
			line := strings.TrimSpace(fmt.Sprintf("%-*s = %s", longest, v.Key, value))
			source := v.Source
			if sources := r.sources[v.Key]; i < len(sources) {
				source = sources[i]
			}
			lines = append(lines, [2]string{line, source})
			width = max(width, len(line))
		}
	}
	for _, l := range lines {
		fmt.Fprintf(w, "%-*s  # %s\n", width, l[0], l[1])
	}
	for _, s := range r.sections {
		s.print(w)
	}
}

// all are the effective values, those of sections too.
func (r resolved) all() []setValue {
	list := r.list()
	for _, s := range r.sections {
		for _, v := range s.said() {
			v.Key = "[" + s.head + "] " + v.Key
			list = append(list, v)
		}
	}
	return list
}

// flags are the arguments that give another process of ours the same settings.
func (r resolved) flags() []string {
	var args []string
	for _, v := range r.list() {
		if values, ok := v.Value.([]string); ok {
			for _, value := range values {
				args = append(args, "--"+v.Key+"="+value)
			}
			continue
		}
		args = append(args, fmt.Sprintf("--%s=%v", v.Key, v.Value))
	}
	for _, s := range r.sections {
		for _, line := range s.lines() {
			args = append(args, "--section="+line)
		}
	}
	return args
}

// resolveFor reads the files and the environment for the flags of a command line.
func (inv *invocation) resolveFor() (resolved, error) {
	file := inv.flags.Lookup("config")
	lines, err := readConf(file.Value.String(), file.Changed || file.Value.String() != file.DefValue)
	if err != nil {
		return resolved{}, err
	}
	return resolve(inv.flags, lines, os.LookupEnv)
}
