package registry

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDidYouMean(t *testing.T) {
	names := []Name{
		"config.manageddata.admin.decider", "config.manageddata.spam.blacklist", "config.manageddata.spam.whitelist", "config.nginx",
		"discovery.user.prod", "discovery.user.dev",
	}
	for _, test := range []struct {
		typed string
		want  Name
	}{
		{"config.manageddata.spam.blaklist", "config.manageddata.spam.blacklist"},
		{"config.manageddata.spam.balcklist", "config.manageddata.spam.blacklist"},
		{"config.managedata.spam.whitelist", "config.manageddata.spam.whitelist"},
		{"Config.ManagedData.Spam.Blacklist", "config.manageddata.spam.blacklist"},
		{"spam.blacklist", "config.manageddata.spam.blacklist"},
		{"blacklist", "config.manageddata.spam.blacklist"},
		{"nginx", "config.nginx"},
		{"discovery.user.pord", "discovery.user.prod"},
		{"discovery.user.de", "discovery.user.dev"},
		{"config.nginx", "config.nginx"},
	} {
		if got, ok := Nearest(test.typed, names); !ok || got != test.want {
			t.Errorf("%s: %q, %v; want %s", test.typed, got, ok, test.want)
		}
	}
	for _, typed := range []string{"", "x", "discovery.mail.prod.eu", "config.manageddata.ads.budget", strings.Repeat("config.nginx", 100)} {
		if got, ok := Nearest(typed, names); ok {
			t.Errorf("%.40q: nobody meant %s", typed, got)
		}
	}
	if got, ok := Nearest("new_rankr", []string{"new_ranker", "old_ranker"}); !ok || got != "new_ranker" {
		t.Errorf("decider: %q, %v", got, ok)
	}
	if got, ok := Nearest("exp_c", []string{"exp_b", "exp_a", strings.Repeat("x", 300)}); !ok || got != "exp_a" {
		t.Errorf("of equals: %q, %v", got, ok)
	}
	if _, ok := Nearest[string]("x", nil); ok {
		t.Error("out of nothing")
	}
}

func TestSlipsAreCountedAsByHand(t *testing.T) {
	words := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := words.Draw(t, "a"), words.Draw(t, "b")
		want := slipsByHand(a, b)
		for limit := range 9 {
			got := slips(a, b, limit)
			if got != want && (got < limit || want < limit) {
				t.Fatalf("%q to %q is %d, limit %d; want %d", a, b, got, limit, want)
			}
		}
	})
}

// slipsByHand is the definition of the distance, without a table.
func slipsByHand(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	least := 1 + min(slipsByHand(a[1:], b), slipsByHand(a, b[1:]), slipsByHand(a[1:], b[1:]))
	if a[0] == b[0] {
		least = min(least, slipsByHand(a[1:], b[1:]))
	}
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		least = min(least, 1+slipsByHand(a[2:], b[2:]))
	}
	return least
}

func BenchmarkNearestOf10000(b *testing.B) {
	names := make([]Name, 10_000)
	for i := range names {
		names[i] = Name(fmt.Sprintf("config.manageddata.domain%d.key_%d", i%100, i))
	}
	for b.Loop() {
		if _, ok := Nearest("config.manageddata.domian42.key_4242", names); !ok {
			b.Fatal("nothing is near")
		}
	}
}
