package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed is where a package puts the binary.
const installed = "/usr/bin/kingpin"

// unitSettings reads a unit file: what each section sets each key to.
func unitSettings(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			all[section] = map[string]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" || all[section][key] != "" {
				t.Errorf("%q is no setting, or is there twice", line)
				continue
			}
			all[section][key] = value
		}
	}
	return all
}

// TestUnitFile: the unit has what the keeper has to have of systemd (package keeper says why), nothing that would hide the mount
// from the machine, and runs commands that there are.
func TestUnitFile(t *testing.T) {
	path := filepath.Join(repository(t), "deploy/systemd/kingpin.service")
	text := read(t, path)
	unit := unitSettings(t, text)
	for section, settings := range map[string]map[string]string{
		"Unit": {"StartLimitIntervalSec": "0", "ConditionPathExists": "/etc/kingpin/kingpin.conf"},
		"Service": {
			"Type": "notify", "NotifyAccess": "all", "FileDescriptorStoreMax": "4", "KillMode": "mixed", "Restart": "always",
			"OOMPolicy": "continue", "StateDirectory": "kingpin",
			"ExecStart": installed + " monitor", "ExecReload": installed + " upgrade", "ExecStopPost": installed + " monitor --rescue",
		},
	} {
		for key, want := range settings {
			if got := unit[section][key]; got != want {
				t.Errorf("[%s] %s=%s, not %s", section, key, got, want)
			}
		}
	}
	for key, value := range unit["Service"] {
		for _, hides := range []string{"Private", "Protect", "ReadOnly", "ReadWrite", "Inaccessible", "Bind", "Root", "Temporary", "Dynamic"} {
			if strings.HasPrefix(key, hides) {
				t.Errorf("%s= makes a mount namespace, and nobody else sees the mount", key)
			}
		}
		if !strings.HasPrefix(key, "Exec") {
			continue
		}
		args := strings.Fields(value)
		if out := result(t, exec.CommandContext(t.Context(), kingpinBinary(t), append(args[1:], "--help")...)); out.code != 0 {
			t.Errorf("%s=%s: %v", key, value, out)
		}
	}

	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Logf("systemd itself was not asked: %v", err)
		return
	}
	here := filepath.Join(directory(t), filepath.Base(path)) // the program has to be there, or verify complains
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(text, installed, kingpinBinary(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	out := result(t, exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", here))
	if out.code != 0 || strings.Contains(out.stderr, filepath.Base(path)) {
		t.Errorf("systemd-analyze verify: %v", out)
	}
}
