package integration

import (
	"strings"
	"testing"
)

// TestSchemaIsEnforcedThroughEveryDoor: by echo, whose write fails, by cp, by a rename, by kingpin put and create.
func TestSchemaIsEnforcedThroughEveryDoor(t *testing.T) {
	needMount(t)
	m := monitor(t)
	const name = "config.manageddata.api.limits"
	succeed(t, m, `echo '{"search": 1}' > config/`+name)
	kingpin(t, m, "create", "config.schema.manageddata.api.limits")
	for _, step := range []struct {
		line, says string // nothing: it succeeds
	}{
		{`echo '{"type": "strnig"}' > /tmp/$$; cp /tmp/$$ config/config.schema.manageddata.api.limits; s=$?; rm /tmp/$$; exit $s`, "Invalid argument"},
		{`echo '{"type": "object", "properties": {"search": {"type": "integer"}}}' > config/config.schema.manageddata.api.limits`, ""},
		{`echo '{"search": "many"}' > config/` + name, "echo: write error: Invalid argument"},
		{`echo '{"search": "many"}' > config/.new; mv config/.new config/` + name + `; s=$?; rm -f config/.new; exit $s`, "cannot move"},
		{`echo '{"search": "many"}' | kingpin put ` + name, "at '/search': got string, want integer (config.schema.manageddata.api.limits)"},
		{`echo '{"search": "many"}' | kingpin put --dry-run ` + name, "at '/search': got string, want integer"},
		{`echo '{"search": 2}' > config/` + name, ""},
	} {
		o := shell(t, m, step.line)
		if (o.code != 0) != (step.says != "") || !strings.Contains(o.stderr, step.says) {
			t.Errorf("%s: %v", step.line, o)
		}
		if step.says == "" || strings.Contains(step.line, "kingpin put") {
			continue
		}
		reason := shell(t, m, `cat .error/config/*`).stdout
		if !strings.Contains(reason, "refused: at '/search': got string, want integer (config.schema.manageddata.api.limits)") &&
			!strings.Contains(reason, "refused: no JSON Schema: at '/type'") {
			t.Errorf("%s: the reason is %q", step.line, reason)
		}
	}
	if got := read(t, m.Path("config", name)); got != "{\"search\": 2}\n" {
		t.Errorf("in the end it holds %q", got)
	}
}
