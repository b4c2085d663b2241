package registry

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What lies in testdata was recorded from the old system (metaconfig, keys.tsv, serverset-python, most of json) or printed by
// CPython 2.7.18's json module (json/floats.tsv, strings.* and nested.json).

func golden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func goldenRows(t *testing.T, name string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(string(golden(t, name))) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	if len(rows) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return rows
}

func TestKeysAreWhereTheOldSystemPutItsBodies(t *testing.T) {
	for _, row := range goldenRows(t, "keys.tsv") {
		p, err := ParsePointer(row[0])
		if err != nil {
			t.Fatal(err)
		}
		v, err := ParseVersion(row[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Key(v); got != row[2] {
			t.Errorf("body of %s at %s: %s, want %s", p, v, got, row[2])
		}
		if got := p.IndexKey(); got != row[3] {
			t.Errorf("index of %s: %s, want %s", p, got, row[3])
		}
	}
}

func TestMetaconfigsAreTheOldToolsByteForByte(t *testing.T) {
	files, err := os.ReadDir("testdata/metaconfig")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		want := golden(t, "metaconfig/"+file.Name())
		name, err := ParseName(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		m := NewMetaconfig(name)
		if got, err := m.Format(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("metaconfig of %s, %v:\n got %s\nwant %s", name, err, got, want)
		}
		read, err := ParseMetaconfig(want)
		if err != nil || len(read) != 1 || read[0] != m[0] {
			t.Errorf("%s reads as %+v, %v; want %+v", name, read, err, m)
		}
		command, err := ParseCommand(m[0].Command)
		if err != nil || command != NewCommand(name) {
			t.Errorf("command of %s reads as %+v, %v; want %+v", name, command, err, NewCommand(name))
		}
	}
}

func TestABodyThatPythonWroteIsWrittenBackByteForByte(t *testing.T) {
	files, err := filepath.Glob("testdata/json/*.json")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, err := ParseJSON(want)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got, err := FormatJSON(v); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, %v:\n got %s\nwant %s", file, err, got, want)
		}
		var check JSONCheck
		if _, err := check.Write(want); err != nil || check.Close() != nil {
			t.Errorf("%s is not JSON in our eyes: %v, %v", file, err, check.Close())
		}
	}
}

func TestFloatsArePythons(t *testing.T) {
	for _, row := range goldenRows(t, "json/floats.tsv") {
		f, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		got, err := FormatJSON(f)
		if err != nil || string(got) != row[1] {
			t.Errorf("%s is %s, %v; Python writes %s", row[0], got, err, row[1])
		}
		back, err := ParseJSON(got)
		if err != nil {
			t.Errorf("%s does not read back: %v", got, err)
			continue
		}
		if again, err := FormatJSON(back); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s was written back as %s, %v", got, again, err)
		}
	}
	if got, _ := FormatJSON(math.Copysign(0, -1)); string(got) != "-0.0" {
		t.Errorf("negative zero is %s", got)
	}
}

func TestStringsArePythons(t *testing.T) {
	got, err := FormatJSON(string(golden(t, "json/strings.utf8")))
	if want := golden(t, "json/strings.json"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}

func TestTheDeciderMapIsPythons(t *testing.T) {
	want := golden(t, "json/decider.json")
	if got := FormatDeciders(map[string]int{"other_exp": 0, "exp_new_home": 80}); !bytes.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := FormatDeciders(nil); string(got) != "{}" {
		t.Errorf("no deciders are %s, want {}", got)
	}
}

func TestAnOldServersetFileReads(t *testing.T) {
	got, err := ParseServerset(golden(t, "serverset-python"))
	if err != nil || len(got) != 2 || got[0] != "127.0.0.1:23081" || got[1] != "127.0.0.1:23082" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestThePageOfFormatsShowsTheRealBytes(t *testing.T) {
	page, err := os.ReadFile("FORMATS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []Name{"config.manageddata.spam.blacklist", "discovery.user.prod"} {
		body, err := NewMetaconfig(name).Format()
		if err != nil || !bytes.Contains(page, append([]byte("\n    "), append(body, '\n')...)) {
			t.Errorf("FORMATS.md does not show %s, %v", body, err)
		}
	}
	data, err := FormatMember(Member{Endpoint: "10.0.0.7:9090", Weight: 3, Labels: map[string]string{"zone": "a"}})
	if err != nil || !bytes.Contains(page, bytes.ReplaceAll(data, []byte("\n"), []byte("\n    "))) {
		t.Errorf("FORMATS.md does not show %s, %v", data, err)
	}
	for _, key := range []string{
		Name("config.manageddata.spam.blacklist").Pointer().Key("1795296152.52"),
		Name("discovery.user.prod").Metaconfig().Key("1795299306.24"),
	} {
		if !bytes.Contains(page, []byte("`"+key+"`")) {
			t.Errorf("FORMATS.md does not show %s", key)
		}
	}
}
