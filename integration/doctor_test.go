package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDoctorWithoutAMonitor: it asks registry and bucket itself, by the settings of the monitor that is not there.
func TestDoctorWithoutAMonitor(t *testing.T) {
	f := startService(t)
	examine := func() outcome {
		t.Helper()
		cmd := exec.Command(kingpinBinary(t), "doctor", "--config", f.conf)
		cmd.Env = append(os.Environ(), "KINGPIN_MOUNT="+f.dir+"/none", "KINGPIN_STATE="+f.dir+"/none")
		return result(t, cmd)
	}
	has := func(o outcome, want ...string) {
		t.Helper()
		found := strings.Join(strings.Fields(o.stdout), " ")
		for _, w := range want {
			if !strings.Contains(found, w) {
				t.Errorf("no %q in\n%s", w, o)
			}
		}
	}
	has(examine(), "monitor wrong no monitor serves", "registry ok zookeeper", "s3 ok bucket")
	f.s3.Kill()
	has(examine(), "s3 wrong bucket")
	f.zk.Kill()
	has(examine(), "registry wrong zookeeper")
}
