package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The stubs hand the words to kingpin __complete, which prints one candidate a line; none means that the shell may offer files.
var stubs = map[string]string{
	"bash": `# bash completion for kingpin; load it with: source <(kingpin completion bash)
_kingpin() {
    local IFS=$'\n'
    COMPREPLY=($("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _kingpin kingpin
`,
	"zsh": `#compdef kingpin
# zsh completion for kingpin; load it with: source <(kingpin completion zsh)
_kingpin() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found ]]; then compadd -- $found; else _files; fi
}
if [[ $funcstack[1] == _kingpin ]]; then _kingpin "$@"; else compdef _kingpin kingpin; fi
`,
	"fish": `# fish completion for kingpin; load it with: kingpin completion fish | source
function __kingpin_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c kingpin -a '(__kingpin_complete)'
`,
}

func runCompletion(_ context.Context, inv *invocation) error {
	stub, ok := stubs[inv.word(0)]
	if !ok {
		return wrongUsage("completion: %q is not one of bash, zsh, fish", inv.word(0))
	}
	fmt.Fprint(inv.stdout, stub)
	return nil
}

// candidates lists what a word may become. It never asks the network, only the mount's directories.
type candidates func(completing) []string

// completing is a word that is being typed.
type completing struct {
	word  string // what there is of it
	mount string
}

func runComplete(_ context.Context, inv *invocation) error {
	for _, c := range complete(inv.words) {
		fmt.Fprintln(inv.stdout, c)
	}
	return nil
}

// complete is the candidates for the last of the words behind kingpin.
func complete(words []string) []string {
	words = joinAssignments(words)
	if len(words) == 0 {
		return nil
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	if slices.Contains(before, "--") {
		return nil // a command of somebody else's
	}
	at := completing{word: word, mount: mountOf(before)}
	c, args, options := position(before)
	if len(before) > 0 {
		if o, ok := awaitsValue(before[len(before)-1], options); ok {
			return matching(at, o.candidates())
		}
	}
	if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
		if o, ok := awaitsValue(name, options); ok {
			at.word = value
			return matching(at, o.candidates())
		}
	}
	if strings.HasPrefix(word, "-") {
		return matching(at, flagsOf(options))
	}
	if c.run == nil {
		return matching(at, verbsBehind(args))
	}
	if len(c.args) == 0 {
		return nil
	}
	arg := c.args[min(len(args), len(c.args)-1)]
	if len(args) >= len(c.args) && !arg.repeated {
		return nil
	}
	return matching(at, arg.values)
}

// joinAssignments undoes what bash does to --mount=PATH: three words.
func joinAssignments(words []string) []string {
	var out []string
	for _, w := range words {
		last := len(out) - 1
		switch {
		case w == "=" && last >= 0 && strings.HasPrefix(out[last], "--"):
			out[last] += "="
		case last >= 0 && strings.HasPrefix(out[last], "--") && strings.HasSuffix(out[last], "="):
			out[last] += w
		default:
			out = append(out, w)
		}
	}
	return out
}

// mountOf is the mount that the words before speak of.
func mountOf(words []string) string {
	for i, w := range words {
		if value, ok := strings.CutPrefix(w, "--mount="); ok {
			return value
		}
		if w == "--mount" && i+1 < len(words) {
			return words[i+1]
		}
	}
	for _, o := range globals {
		if o.name == "mount" && os.Getenv(o.env) != "" {
			return os.Getenv(o.env)
		}
	}
	return "/var/kingpin"
}

// position finds the verb in the words, its arguments so far, and the flags that may come.
func position(words []string) (c command, args []string, options []option) {
	options = globals
	for i := 0; i < len(words); i++ {
		w := words[i]
		if strings.HasPrefix(w, "-") && w != "-" {
			if _, ok := awaitsValue(w, options); ok {
				i++
			}
			continue
		}
		args = append(args, w)
		if found, rest, err := findCommand(args); err == nil && c.run == nil {
			c, args, options = found, rest, found.options()
		}
	}
	return c, args, options
}

// awaitsValue is the option behind a flag that takes its value from the next word.
func awaitsValue(word string, options []option) (option, bool) {
	for _, o := range options {
		if _, boolean := o.value.(bool); !boolean && (word == "--"+o.name || o.short != "" && word == "-"+o.short) {
			return o, true
		}
	}
	return option{}, false
}

func (o option) candidates() candidates {
	if o.values != nil {
		return o.values
	}
	return func(completing) []string { return o.choices }
}

func flagsOf(options []option) candidates {
	return func(completing) []string {
		var flags []string
		for _, o := range options {
			if !o.hidden {
				flags = append(flags, "--"+o.name)
			}
		}
		return flags
	}
}

// verbsBehind completes a verb, or the second word of one.
func verbsBehind(words []string) candidates {
	return func(completing) []string {
		if len(words) > 0 {
			return verbsOf(words[0])
		}
		return visibleVerbs()
	}
}

// matching are the candidates that the word begins.
func matching(at completing, from candidates) []string {
	if from == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(from(at)), func(c string) bool { return !strings.HasPrefix(c, at.word) })
}

// The candidates for arguments.

func completeNames(at completing) []string {
	if strings.HasPrefix(at.word, "decider/") {
		return prefixed("decider/", entries(at.mount, "decider"))
	}
	if strings.Contains(at.word, "/") {
		return nil // a path: the shell knows how
	}
	return append(entries(at.mount, "config"), entries(at.mount, "serverset")...)
}

func completeServersets(at completing) []string { return entries(at.mount, "serverset") }

func completeDependencies(at completing) []string {
	return slices.DeleteFunc(entries(at.mount, ""), func(name string) bool { return !strings.HasSuffix(name, ".dep") })
}

func completeEdges(at completing) []string {
	return append(completeNames(at), completeDependencies(at)...)
}

func completeVerbs(completing) []string { return visibleVerbs() }

func completeShells(completing) []string { return []string{"bash", "fish", "zsh"} }

func entries(mount, dir string) []string {
	found, err := os.ReadDir(filepath.Join(mount, dir))
	if err != nil {
		return nil // no mount, no candidates
	}
	var names []string
	for _, e := range found {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, prefix+name)
	}
	return out
}
