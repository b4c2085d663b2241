package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCommandsAsSeenInTheWild(t *testing.T) {
	config := Command{File: "/var/config/config.a.b", FromS3: "/data/config/a/b", Kind: Config, Pointer: "/config/a/b"}
	serverset := Command{File: "/var/serverset/discovery.a.b", Kind: Serverset, Pointer: "/discovery/a/b"}
	with := func(c Command, change func(*Command)) Command {
		change(&c)
		return c
	}
	const usual = "zk_download_data.py -f /var/config/config.a.b --from-s3 /data/config/a/b -m config -p /config/a/b"
	for _, test := range []struct {
		about, command string
		want           Command
	}{
		{"as the tools write it", usual, config},
		{"the other one", "zk_download_data.py -f /var/serverset/discovery.a.b -p /discovery/a/b -m serverset", serverset},
		{"with its path", "/usr/local/bin/" + usual, config},
		{"by an interpreter, with a variable before it", "LANG=C /usr/bin/python2.7 -u /opt/" + usual, config},
		{"with a key file", usual + " --aws-key-file /etc/aws.conf", with(config, func(c *Command) { c.KeyFile = "/etc/aws.conf" })},
		{"with the guard that old versions had", "zk_download_data.py -f /var/serverset/discovery.a.b -p /discovery/a/b -m serverset -r 0.7 --serverset-minimum-size 3 --allow-same-content",
			with(serverset, func(c *Command) { c.RejectionRatio, c.MinimumSize, c.AllowSame = 0.7, 3, true })},
		{"with equals signs", "zk_download_data.py --file=/var/config/config.a.b --from-s3=/data/config/a/b --mode=CONFIG -p=/config/a/b", config},
		{"with short flags glued on", "zk_download_data.py -f/var/config/config.a.b --from-s3 /data/config/a/b -mconfig -p/config/a/b", config},
		{"with long flags cut short", "zk_download_data.py --fi /var/config/config.a.b --from-s /data/config/a/b --mo config --pa /config/a/b --serverset-m=2 --al",
			with(config, func(c *Command) { c.MinimumSize, c.AllowSame = 2, true })},
		{"with quotes", `zk_download_data.py -f "/var/config/"'config.a.b' --from-s3 "/data/config/a/b" -m 'con'fig -p \/config/a/b`, config},
		{"with blanks here and there", "  zk_download_data.py\t-f  /var/config/config.a.b  --from-s3 /data/config/a/b \\\n -m config -p /config/a/b ", config},
		{"with flags that say nothing of what to follow", usual + " -z /etc/zk -v '1795296152.52' -o 9898 -b bucket -e s3.amazonaws.com --report-metadata -s -l /tmp/x", config},
		{"the content in the node itself", "zk_download_data.py -f /var/config/config.a.b -m config -p /config/a/b", with(config, func(c *Command) { c.FromS3 = "" })},
		{"a restart behind it", usual + " && service nginx reload", with(config, func(c *Command) { c.Chained = true })},
		{"several things behind it", usual + "; echo $HOME `date` > /tmp/x", with(config, func(c *Command) { c.Chained = true })},
		{"something before it", "sleep 3 ; " + usual, with(config, func(c *Command) { c.Chained = true })},
		{"another line", usual + "\nservice nginx reload", with(config, func(c *Command) { c.Chained = true })},
		{"into the background", usual + " &", config},
		{"its words kept elsewhere", usual + " >/dev/null 2>&1", config},
		{"a pipe", usual + " | logger", with(config, func(c *Command) { c.Chained = true })},
	} {
		got, err := ParseCommand(test.command)
		if err != nil || got != test.want {
			t.Errorf("%s: %s\n got %+v, %v\nwant %+v", test.about, test.command, got, err, test.want)
		}
	}
}

func TestCommandsThatAreNotUnderstood(t *testing.T) {
	const rest = " -f /var/config/config.a.b -m config"
	for _, command := range []string{
		"", "rm -rf /", "zk_download_data.pyc" + rest, "xzk_download_data.py" + rest, "sh -c 'zk_download_data.py" + rest + "'",
		"zk_download_data.py", "zk_download_data.py -f /x", "zk_download_data.py -m config", "zk_download_data.py -f", "zk_download_data.py -f -m config",
		"zk_download_data.py -m job -f /x", "zk_download_data.py" + rest + " -p config/a/b", "zk_download_data.py" + rest + " -p /a/../b",
		"zk_download_data.py" + rest + " --no-such-flag", "zk_download_data.py" + rest + " --from x", "zk_download_data.py" + rest + " --s3", "zk_download_data.py" + rest + " word",
		"zk_download_data.py" + rest + " -x", "zk_download_data.py" + rest + " -- -f", "zk_download_data.py" + rest + " --allow-same-content=yes",
		"zk_download_data.py" + rest + " -r half", "zk_download_data.py" + rest + " -r 2", "zk_download_data.py" + rest + " -r nan", "zk_download_data.py" + rest + " --serverset-minimum-size=-1",
		"zk_download_data.py -m config -f $HOME/x", "zk_download_data.py -m config -f `id`", `zk_download_data.py -m config -f "$HOME"`, "zk_download_data.py $FLAGS" + rest,
		"zk_download_data.py" + rest + " 'open", `zk_download_data.py` + rest + ` "open`,
	} {
		if got, err := ParseCommand(command); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", command, got, err)
		}
	}
	if _, err := ParseCommand(strings.Repeat(" ", maxCommand+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if got, err := ParseCommand(`zk_download_data.py -m config -f '$HOME/x'`); err != nil || got.File != "$HOME/x" {
		t.Errorf("what is quoted is nobody's to work out: %+v, %v", got, err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		NewCommand("config.a.b").String(), NewCommand("discovery.a.b").String(), "zk_download_data.py -f '' -m config", `a && zk_download_data.py -mserverset -f"x\"y" -r.5; b`,
		"zk_download_data.py -f a'\\''b -m config --aws-key-file \"caf\u00e9\" 2>&1", "zk_download_data.py -f a\\\nb -m config",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCommand(s)
		if err != nil {
			return
		}
		c.Chained = false // String writes the download alone
		if strings.HasPrefix(c.FromS3, "-") || strings.HasPrefix(c.KeyFile, "-") || strings.HasPrefix(c.File, "-") {
			return // was said as --flag=-value, which String does not write
		}
		if back, err := ParseCommand(c.String()); err != nil || back != c {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", s, c, c.String(), back, err)
		}
	})
}

func FuzzSplitWords(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", `"`, "$x", "a\nb", "2>", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := splitWords("a " + quoteWord(s) + " b")
		if want := []shellWord{{text: "a"}, {text: s}, {text: "b"}}; err != nil || !slices.Equal(words, want) {
			t.Errorf("%q is quoted %s, which is %+v, %v", s, quoteWord(s), words, err)
		}
		if words, err := splitWords(s); err == nil {
			for _, w := range words {
				if w.text == "" && w.operator {
					t.Errorf("%q has an operator without a sign", s)
				}
			}
		}
	})
}
