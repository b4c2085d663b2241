package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAcceptanceFormat(t *testing.T) {
	at := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	a := Acceptance{Name: "discovery.user.prod", Until: at.Add(15 * time.Minute), By: "ann@laptop", At: at}
	data, err := a.Format()
	if err != nil {
		t.Fatal(err)
	}
	const wantNode = "discovery.user.prod@1795331700"
	const wantData = `{"until":"2026-11-22T07:15:00Z","by":"ann@laptop","at":"2026-11-22T07:00:00Z"}`
	if a.Node() != wantNode || string(data) != wantData {
		t.Errorf("written as %s %s, want %s %s", a.Node(), data, wantNode, wantData)
	}
	for node, data := range map[string]string{wantNode: wantData} {
		if got, err := ParseAcceptance(node, []byte(data)); err != nil || got != a {
			t.Errorf("read as %+v (%v), want %+v", got, err, a)
		}
	}
	bare := Acceptance{Name: a.Name, Until: a.Until}
	for _, data := range []string{"", "no JSON", `{"by": 1}`, `{"by": "` + strings.Repeat("x", 5000) + `"}`} {
		if got, err := ParseAcceptance(wantNode, []byte(data)); err != nil || got != bare {
			t.Errorf("with data %.20q it is %+v (%v), want %+v", data, got, err, bare)
		}
	}
}

func TestAcceptanceRefused(t *testing.T) {
	for _, node := range []string{
		"", "discovery.user.prod", "discovery.user.prod@", "discovery.user.prod@x", "discovery.user.prod@-1", "discovery.user.prod@01",
		"discovery.user.prod@99999999999999", "config.manageddata.spam.blacklist@1795331700", "../x@1795331700", "web.dep@1795331700",
	} {
		if a, err := ParseAcceptance(node, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %+v (%v)", node, a, err)
		}
	}
	now := time.Now()
	for _, a := range []Acceptance{
		{Name: "config.manageddata.spam.blacklist", Until: now, At: now},
		{Name: "discovery", Until: now, At: now},
		{Name: "discovery.user.prod", Until: now.Add(31 * 24 * time.Hour), At: now},
	} {
		if _, err := a.Format(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v is written: %v", a, err)
		}
	}
}

func TestAcceptanceIsValidForAWhile(t *testing.T) {
	now := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	for lasts, want := range map[time.Duration]bool{
		-time.Second: false, 0: false, time.Second: true, 30 * 24 * time.Hour: true, 31 * 24 * time.Hour: false, 100000 * time.Hour: false,
	} {
		if got := (Acceptance{Until: now.Add(lasts)}).Valid(now); got != want {
			t.Errorf("valid for another %v: %v", lasts, got)
		}
	}
}

func FuzzParseAcceptance(f *testing.F) {
	f.Add("discovery.user.prod@1795331700", []byte(`{"until":"2026-11-22T07:15:00Z","by":"ann@laptop","at":"2026-11-22T07:00:00Z"}`))
	f.Fuzz(func(t *testing.T, node string, data []byte) {
		if a, err := ParseAcceptance(node, data); err == nil && a.Node() != node {
			t.Errorf("%q is read as %+v, which is %q", node, a, a.Node())
		}
	})
}
