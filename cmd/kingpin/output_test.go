package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestSizesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]size{
		"0": 0, "1": 1, "4096": 4096, "4KiB": 4096, "64KiB": 64 << 10, "16MiB": 16 << 20, "16 MiB": 16 << 20, "1GiB": 1 << 30,
	} {
		var got size
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
		var again size
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, which is read %d (%v)", text, got, again, err)
		}
	}
	for _, text := range []string{"", "much", "-1", "1.5MiB", "16MB", "MiB", "99999999999GiB"} {
		var got size
		if err := got.Set(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestAgesArePeoples(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 4 * time.Second: "4s", 59 * time.Second: "59s", 90 * time.Second: "1m", 59 * time.Minute: "59m",
		5 * time.Hour: "5h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := brief(d); got != want {
			t.Errorf("%v is said as %s, want %s", d, got, want)
		}
	}
	if got := seconds(1234567 * time.Microsecond); got != 1.235 {
		t.Errorf("seconds: %v", got)
	}
}

func TestColumnsLineUp(t *testing.T) {
	var out bytes.Buffer
	columns(&out, []string{"VERSION", "AGE", "AUTHOR", " SIZE", "MESSAGE"}, [][]string{
		{"1795299251.090000001", "4s", "ann@laptop", "21", ""},
		{"1795299240.000000001", "15s", "root@laptop", "19", "demo"},
	})
	const want = `
VERSION               AGE  AUTHOR       SIZE  MESSAGE
1795299251.090000001  4s   ann@laptop     21
1795299240.000000001  15s  root@laptop    19  demo
`
	if out.String() != strings.TrimPrefix(want, "\n") {
		t.Errorf("printed\n%s", out.String())
	}
}
