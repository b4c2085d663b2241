package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMetaconfigsThatPeopleWroteByHand(t *testing.T) {
	const path = `"zk_path": "/config/manageddata/a/b"`
	config := Section{Kind: Config, Pointer: "/config/manageddata/a/b"}
	for _, test := range []struct {
		about, body string
		change      func(*Section)
	}{
		{"no type is config", `[{` + path + `}]`, nil},
		{"null is as good as nothing", `[{` + path + `, "type": null, "command": null, "max_wait_in_secs": null, "config_section_name": null}]`, nil},
		{"type in capitals", `[{` + path + `, "type": "SERVERSET"}]`, func(s *Section) { s.Kind = Serverset }},
		{"a wait in quotes", `[{` + path + `, "max_wait_in_secs": " 300 "}]`, func(s *Section) { s.MaxWait = 5 * time.Minute }},
		{"a wait with a fraction", `[{` + path + `, "max_wait_in_secs": 2.9}]`, func(s *Section) { s.MaxWait = 2 * time.Second }},
		{"a negative wait", `[{` + path + `, "max_wait_in_secs": -5}]`, nil},
		{"a wait without end", `[{` + path + `, "max_wait_in_secs": 1e999}]`, func(s *Section) { s.MaxWait = 24 * time.Hour }},
		{"no alert, as a word", `[{` + path + `, "alert_disabled": "True"}]`, func(s *Section) { s.AlertDisabled = true }},
		{"no alert, as a claim", `[{` + path + `, "alert_disabled": true}]`, func(s *Section) { s.AlertDisabled = true }},
		{"an alert", `[{` + path + `, "alert_disabled": "false"}]`, nil},
		{"keys of somebody else", "\n[ {\n " + path + `, "owner": {"team": "spam"}, "command": "x"} ]` + "\n", func(s *Section) { s.Command = "x" }},
	} {
		want := config
		if test.change != nil {
			test.change(&want)
		}
		got, err := ParseMetaconfig([]byte(test.body))
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, %v; want %+v", test.about, got, err, want)
		}
	}
}

func TestMetaconfigsThatCannotBeFollowed(t *testing.T) {
	for _, body := range []string{
		"", "null", "[]", "{}", "7", `["x"]`, `[{}]`, `[{"zk_path": 7}]`, `[{"zk_path": "config/x"}]`, `[{"zk_path": "/../etc"}]`, `[{"zk_path": "/"}]`,
		`[{"zk_path": "/config/x", "type": "job"}]`, `[{"zk_path": "/config/x", "type": 1}]`, `[{"zk_path": "/config/x", "type": ""}]`,
		`[{"zk_path": "/config/x", "max_wait_in_secs": "soon"}]`, `[{"zk_path": "/config/x", "max_wait_in_secs": []}]`,
		`[{"zk_path": "/config/x", "command": ["rm"]}]`, `[{"zk_path": "/config/x"}, {}]`, `[{"zk_path": "/config/x"}`,
		"[" + strings.Repeat(`{"zk_path": "/config/x"}, `, maxSections) + `{"zk_path": "/config/x"}]`,
	} {
		if m, err := ParseMetaconfig([]byte(body)); !errors.Is(err, ErrInvalid) || m != nil {
			t.Errorf("%.80s: %v, %v", body, m, err)
		}
	}
	if _, err := ParseMetaconfig(make([]byte, maxMetaconfig+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	_, err := ParseMetaconfig([]byte(`[{"zk_path": "/config/x"}, {"zk_path": "/config/y", "type": "job"}]`))
	if err == nil || !strings.Contains(err.Error(), "section 2") {
		t.Errorf("which section it is: %v", err)
	}
}

func FuzzParseMetaconfig(f *testing.F) {
	for _, n := range []Name{"config.manageddata.test.test_config", "discovery.test_service.prod"} {
		body, err := NewMetaconfig(n).Format()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`[{"zk_path": "/config/x", "type": "SERVERSET", "max_wait_in_secs": "12", "alert_disabled": "TRUE", "command": "\ud800"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetaconfig(data)
		if err != nil {
			return
		}
		body, err := m.Format()
		if err != nil {
			t.Fatalf("%q cannot be written back: %v", data, err)
		}
		back, err := ParseMetaconfig(body)
		if errors.Is(err, ErrTooLarge) {
			return // escapes make it longer
		}
		if err != nil || !slices.Equal(back, m) {
			t.Errorf("%q was written as %q, which is %+v, %v", data, body, back, err)
		}
	})
}
