package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// An alert on a metric that does not exist never fires, and one without a page to look at helps nobody at night.
func TestAlertsAreOfMetricsThatExist(t *testing.T) {
	rules := read(t, "../../deploy/prometheus/rules.yml")
	page := read(t, "../../docs/operate.md")
	sources := read(t, "metrics.go")
	for _, metric := range regexp.MustCompile(`kingpin_[a-z_0-9]+`).FindAllString(rules, -1) {
		if !strings.Contains(sources, `"`+strings.TrimPrefix(metric, "kingpin_")+`"`) && !strings.Contains(sources, `"`+metric+`"`) {
			t.Errorf("rules.yml: nothing here is called %s", metric)
		}
		if !strings.Contains(page, "`"+metric) {
			t.Errorf("docs/operate.md does not explain %s", metric)
		}
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if heading := "\n## " + strings.TrimSuffix(alert[1], "OnMany") + "\n"; !strings.Contains(page, heading) {
			t.Errorf("docs/operate.md has no heading for %s", alert[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
