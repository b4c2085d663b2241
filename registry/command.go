package registry

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// downloader is the program that a metaconfig's command runs.
const downloader = "zk_download_data.py"

// maxCommand bounds a command in bytes.
const maxCommand = 64 << 10

// Command is what the command of a metaconfig says. It is read so that a monitor can do the same by itself; it comes from the
// registry, is untrusted, and is never executed. The paths in it are not checked: they are for comparing, not for opening.
type Command struct {
	File           string  // -f: the local file
	Pointer        Pointer // -p: what to watch
	Kind           Kind    // -m: Config or Serverset
	FromS3         string  // --from-s3: /data and the path; empty for a config whose node holds the content itself
	RejectionRatio float64 // -r: a serverset that shrinks below it is refused; 0 is unsaid
	MinimumSize    int     // --serverset-minimum-size: so is one with fewer members
	AllowSame      bool    // --allow-same-content: an unchanged file is no failure
	KeyFile        string  // --aws-key-file
	Chained        bool    // other commands stand before or behind the download; nothing is known of them
}

// NewCommand is the command that the old tools give to n.
func NewCommand(n Name) Command {
	c := Command{File: "/var/" + n.Kind().String() + "/" + string(n), Pointer: n.Pointer(), Kind: n.Kind()}
	if c.Kind == Config {
		c.FromS3 = "/data" + string(c.Pointer)
	}
	return c
}

// String is the download in the words of the old tools, without what it was chained to.
func (c Command) String() string {
	words := []string{downloader}
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, quoteWord(value))
		}
	}
	add("-f", c.File)
	add("--from-s3", c.FromS3)
	if c.Kind == Config {
		add("-m", c.Kind.String())
		add("-p", string(c.Pointer))
	} else {
		add("-p", string(c.Pointer))
		add("-m", c.Kind.String())
	}
	if c.RejectionRatio != 0 {
		add("-r", strconv.FormatFloat(c.RejectionRatio, 'g', -1, 64))
	}
	if c.MinimumSize != 0 {
		add("--serverset-minimum-size", strconv.Itoa(c.MinimumSize))
	}
	if c.AllowSame {
		words = append(words, "--allow-same-content")
	}
	add("--aws-key-file", c.KeyFile)
	return strings.Join(words, " ")
}

// ParseCommand reads a command as the shell and the downloader's argument parser would, up to the first ; & | or redirection
// behind the download. A command that does not run zk_download_data.py, gives it flags that it does not have, or leaves a value to
// a shell ($HOME, `date`) is ErrInvalid.
func ParseCommand(s string) (Command, error) {
	if len(s) > maxCommand {
		return Command{}, fmt.Errorf("command of %d bytes, at most %d: %w", len(s), maxCommand, ErrTooLarge)
	}
	words, err := splitWords(s)
	if err != nil {
		return Command{}, err
	}
	at := slices.IndexFunc(words, func(w shellWord) bool { return !w.operator && path.Base(w.text) == downloader })
	if at < 0 {
		return Command{}, fmt.Errorf("command %.200q does not run %s: %w", s, downloader, ErrInvalid)
	}
	before, arguments := words[:at], words[at+1:]
	c := Command{Chained: slices.ContainsFunc(before, shellWord.chains)}
	if chain := slices.IndexFunc(arguments, shellWord.chains); chain >= 0 && chain < len(arguments)-1 {
		c.Chained = true // a lone & or ; at the very end starts nothing
	}
	if end := slices.IndexFunc(arguments, func(w shellWord) bool { return w.operator }); end >= 0 {
		arguments = arguments[:end]
	}
	if err := c.parseArguments(arguments); err != nil {
		return Command{}, fmt.Errorf("command %.200q: %w", s, err)
	}
	if c.File == "" || c.Kind == 0 {
		return Command{}, fmt.Errorf("command %.200q has no -f or no -m: %w", s, ErrInvalid)
	}
	return c, nil
}

func (c *Command) parseArguments(words []shellWord) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word.expands {
			return fmt.Errorf("only a shell knows what %.80q is: %w", word.text, ErrInvalid)
		}
		flag, value, attached, err := matchFlag(word.text)
		if err != nil {
			return err
		}
		switch {
		case flag.valueless && attached:
			return fmt.Errorf("%s takes no value: %w", flag.long, ErrInvalid)
		case !flag.valueless && !attached:
			if len(words) == 0 || words[0].expands || strings.HasPrefix(words[0].text, "-") {
				return fmt.Errorf("%s has no value that can be read: %w", flag.long, ErrInvalid)
			}
			value = words[0].text
			words = words[1:]
		}
		if flag.set == nil {
			continue
		}
		if err := flag.set(c, value); err != nil {
			return fmt.Errorf("%s: %w", flag.long, err)
		}
	}
	return nil
}

// commandFlag is one flag of the downloader.
type commandFlag struct {
	short, long string
	valueless   bool
	set         func(c *Command, value string) error // nil: the flag is understood and says nothing that is needed
}

// commandFlags are all the flags there are: to know which prefixes of the long ones are unambiguous takes all of them.
var commandFlags = []commandFlag{
	{"-f", "--file", false, func(c *Command, v string) error { c.File = v; return nil }},
	{"-m", "--mode", false, func(c *Command, v string) (err error) { c.Kind, err = parseSectionType(v); return err }},
	{"-p", "--path", false, func(c *Command, v string) (err error) { c.Pointer, err = ParsePointer(v); return err }},
	{"", "--from-s3", false, func(c *Command, v string) error { c.FromS3 = v; return nil }},
	{"-r", "--serverset-rejection-ratio", false, setRejectionRatio},
	{"", "--serverset-minimum-size", false, setMinimumSize},
	{"", "--allow-same-content", true, func(c *Command, _ string) error { c.AllowSame = true; return nil }},
	{"-a", "--aws-key-file", false, func(c *Command, v string) error { c.KeyFile = v; return nil }},
	{"-z", "--zk-hosts-file-path", false, nil},
	{"-s", "--show", true, nil},
	{"-v", "--value", false, nil},
	{"", "--report-metadata", true, nil},
	{"-l", "--from-value-file", false, nil},
	{"-o", "--port", false, nil},
	{"-b", "--s3-bucket", false, nil},
	{"-e", "--aws-s3-endpoint", false, nil},
}

func setRejectionRatio(c *Command, value string) error {
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		return fmt.Errorf("%.40q is not a ratio from 0 to 1: %w", value, ErrInvalid)
	}
	c.RejectionRatio = ratio
	return nil
}

func setMinimumSize(c *Command, value string) error {
	size, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return fmt.Errorf("%.40q is not a number of members: %w", value, ErrInvalid)
	}
	c.MinimumSize = int(size)
	return nil
}

// matchFlag finds the flag that word spells, as Python's argparse does: in full, with =VALUE behind it, as -fVALUE, or as a prefix of
// one long flag only.
func matchFlag(word string) (flag commandFlag, value string, attached bool, err error) {
	name, value, attached := strings.Cut(word, "=")
	var prefixed []commandFlag
	for _, f := range commandFlags {
		switch {
		case name == f.long || f.short != "" && name == f.short:
			return f, value, attached, nil
		case f.short != "" && strings.HasPrefix(word, f.short):
			return f, word[len(f.short):], true, nil
		case len(name) > len("--") && strings.HasPrefix(f.long, name):
			prefixed = append(prefixed, f)
		}
	}
	if len(prefixed) != 1 {
		return commandFlag{}, "", false, fmt.Errorf("%.80q is no flag of %s, or could be several: %w", word, downloader, ErrInvalid)
	}
	return prefixed[0], value, attached, nil
}
