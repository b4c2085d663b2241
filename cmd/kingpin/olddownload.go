package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/registry"
)

// oldDownloader is the program that kingpin download replaces. A link of this name to kingpin, or kingpin with it for a verb, takes
// its flags.
const oldDownloader = "zk_download_data.py"

// oldFlags are all the flags of the old downloader; which beginnings of the long ones are unambiguous takes all of them.
func oldFlags() *pflag.FlagSet {
	set := pflag.NewFlagSet(oldDownloader, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringP("file", "f", "", "the file to write")
	set.StringP("mode", "m", "", "config or serverset")
	set.StringP("path", "p", "", "the node")
	set.String("from-s3", "", "the key in S3, without the version")
	set.BoolP("show", "s", false, "print instead of writing")
	set.Bool("allow-same-content", false, "an unchanged file is no failure")
	set.StringP("value", "v", "", "the version, the content or the endpoints, instead of asking ZooKeeper")
	set.StringP("from-value-file", "l", "", "a file with the value and its MD5")
	set.StringP("zk-hosts-file-path", "z", "", "one host:port a line")
	set.StringP("aws-key-file", "a", "", "credentials")
	set.StringP("s3-bucket", "b", "", "bucket")
	set.StringP("aws-s3-endpoint", "e", "", "host of S3")
	set.Float64P("serverset-rejection-ratio", "r", 0, "how much of a serverset has to stay")
	set.Int("serverset-minimum-size", 0, "how many members a serverset has to have")
	set.StringP("port", "o", "", "of the old monitor; nobody is told")
	set.Bool("report-metadata", false, "nobody is told")
	return set
}

// expandFlags spells beginnings of long flags in full, as Python's argparse understands them.
func expandFlags(set *pflag.FlagSet, words []string) []string {
	full := make([]string, len(words))
	for i, word := range words {
		full[i] = word
		name, value, assigned := strings.Cut(word, "=")
		if word == "--" {
			copy(full[i:], words[i:])
			break
		}
		if beginning, ok := strings.CutPrefix(name, "--"); ok && set.Lookup(beginning) == nil {
			var found []string
			set.VisitAll(func(f *pflag.Flag) {
				if strings.HasPrefix(f.Name, beginning) {
					found = append(found, f.Name)
				}
			})
			if len(found) == 1 {
				full[i] = "--" + found[0]
				if assigned {
					full[i] += "=" + value
				}
			}
		}
	}
	return full
}

// runOldDownload is zk_download_data.py. What its flags do not say the configuration of the monitor does.
func runOldDownload(ctx context.Context, inv *invocation) error {
	flags := oldFlags()
	err := flags.Parse(expandFlags(flags, inv.words))
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(inv.stdout, "%s is kingpin download, with the flags that it always had:\n%s", oldDownloader, flags.FlagUsages())
		return nil
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("what is %q?", flags.Arg(0))
	}
	if err != nil {
		return coded{fmt.Errorf("%s: %w", oldDownloader, err), exitUsage}
	}
	d, err := inv.oldDownload(flags)
	if err != nil {
		return err
	}
	return d.run(ctx, inv)
}

// oldDownload reads the flags.
func (inv *invocation) oldDownload(flags *pflag.FlagSet) (*download, error) {
	text := func(name string) string { return flags.Lookup(name).Value.String() }
	wrong := func(format string, args ...any) error {
		return coded{fmt.Errorf(oldDownloader+": "+format, args...), exitUsage}
	}
	effective, err := inv.resolveFor()
	if err != nil {
		return nil, wrong("%w", err)
	}
	d := &download{file: text("file"), quiet: true}
	d.show, _ = flags.GetBool("show")
	d.same, _ = flags.GetBool("allow-same-content")
	d.ratio, _ = flags.GetFloat64("serverset-rejection-ratio")
	d.least, _ = flags.GetInt("serverset-minimum-size")
	switch strings.ToLower(text("mode")) {
	case "config":
		d.kind = registry.Config
	case "serverset":
		d.kind = registry.Serverset
	default:
		return nil, wrong("-m %q is neither config nor serverset", text("mode"))
	}
	if d.file == "" {
		return nil, wrong("-f FILE is missing")
	}
	if path := text("path"); path != "" {
		if d.pointer, err = registry.ParsePointer(path); err != nil {
			return nil, wrong("-p: %w", err)
		}
	}
	if prefix := text("from-s3"); prefix != "" && d.kind == registry.Config {
		d.key = func(v registry.Version) string {
			return strings.ReplaceAll(strings.TrimLeft(prefix, "/")+"_"+string(v), ".", "/")
		}
	}
	if d.maxBody, err = effective.maxBody(); err != nil {
		return nil, wrong("%w", err)
	}
	if d.value, err = oldValue(d.kind, text("value"), text("from-value-file")); err != nil {
		return nil, coded{err, downloadBadValue}
	}
	d.fleet, err = effective.oldFleet(flags)
	switch {
	case err != nil:
		return nil, coded{err, downloadNoAWS}
	case d.value == nil && d.pointer == "":
		return nil, wrong("-p PATH is missing")
	case d.value == nil && d.fleet.hosts == "" && d.fleet.hostsFile == "":
		return nil, wrong("-z FILE is missing")
	}
	return d, nil
}

// oldFleet is where the flags say that ZooKeeper and S3 are, and the rest from the configuration of the monitor.
func (r resolved) oldFleet(flags *pflag.FlagSet) (*fleetSettings, error) {
	f := r.fleetValues()
	if hosts := flags.Lookup("zk-hosts-file-path"); hosts.Changed {
		f.hosts, f.hostsFile = "", hosts.Value.String()
	}
	if keys := flags.Lookup("aws-key-file"); keys.Changed {
		f.s3.KeyFile = keys.Value.String()
	}
	if bucket := flags.Lookup("s3-bucket"); bucket.Changed {
		f.s3.Bucket = bucket.Value.String()
	}
	endpoint := flags.Lookup("aws-s3-endpoint").Value.String()
	switch {
	case endpoint == "":
	case strings.Contains(endpoint, "://"):
		f.s3.Endpoint = endpoint
	case endpoint == "s3.amazonaws.com":
		f.s3.Endpoint = ""
	default:
		f.s3.Endpoint = "https://" + endpoint
	}
	if f.s3.Endpoint == "" && f.s3.Region == "" && os.Getenv("AWS_REGION") == "" && os.Getenv("AWS_DEFAULT_REGION") == "" {
		f.s3.Region = "us-east-1" // where s3.amazonaws.com is
	}
	return f, f.checkEndpoint()
}

// oldValue is what -v or -l say; nil if they say nothing. Endpoints are between commas.
func oldValue(kind registry.Kind, value, file string) ([]byte, error) {
	if value == "" && file != "" {
		var err error
		if value, err = readValueFile(file); err != nil {
			return nil, err
		}
	}
	if value == "" {
		return nil, nil
	}
	if kind != registry.Serverset {
		return []byte(value), nil
	}
	var members []registry.Member
	for word := range strings.SplitSeq(value, ",") {
		endpoint, err := registry.ParseEndpoint(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		members = append(members, registry.Member{Endpoint: endpoint})
	}
	return registry.FormatServerset(members), nil
}

// readValueFile reads a value that was too long for a command line: a line, and its MD5 on the next.
func readValueFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := limited(f, maxValue)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	value, sum, _ := strings.Cut(string(data), "\n")
	value = strings.TrimSuffix(value, "\r")
	if got := md5.Sum([]byte(value)); hex.EncodeToString(got[:]) != strings.TrimSpace(sum) {
		return "", fmt.Errorf("%s: its second line is not the MD5 of the first: %w", path, registry.ErrChecksum)
	}
	return value, nil
}

// nameOf a node: its path with dots.
func nameOf(p registry.Pointer) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(p), "/"), "/", ".")
}
