package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	realservers "github.com/kingpinfs/kingpin/integration/server" // a server is what this program runs
)

// TestFleetScripts types commands in a fleet: each script has a chroot of one ZooKeeper and a bucket of one S3 server, and
// fleet.conf that says where they are. In that is also web.dep, which nobody has made yet.
func TestFleetScripts(t *testing.T) {
	z, s3 := realservers.StartZooKeeper(t), realservers.StartS3(t)
	params := scripts("testdata/fleet")
	setUp := params.Setup
	params.Setup = func(e *testscript.Env) error {
		if err := setUp(e); err != nil {
			return err
		}
		script := strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")
		if err := s3.MakeBucket(script); err != nil {
			return err
		}
		e.Setenv("ZK", z.Addr+"/"+script)
		e.Setenv("S3", s3.Endpoint)
		e.Setenv("BUCKET", script)
		e.Setenv("KINGPIN_CONFIG", filepath.Join(e.WorkDir, "fleet.conf"))
		for name, text := range map[string]string{
			"fleet.conf": "zookeeper = " + e.Getenv("ZK") + "\ns3-bucket = " + script + "\ns3-endpoint = " + s3.Endpoint +
				"\ns3-path-style = yes\naws-key-file = " + filepath.Join(e.WorkDir, "keys") + "\ndependency = web.dep\n",
			"hosts": "\n" + e.Getenv("ZK") + "\n\n",
			"where.conf": "s3-bucket = " + script + "\ns3-endpoint = " + s3.Endpoint +
				"\ns3-path-style = yes\naws-key-file = " + filepath.Join(e.WorkDir, "keys") + "\n",
			"keys": "[Credentials]\naws_access_key_id = " + s3.AccessKey + "\naws_secret_access_key = " + s3.SecretKey + "\n",
		} {
			if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	testscript.Run(t, params)
}
