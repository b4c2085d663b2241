package zookeeper_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// TestAuth: what one has created others may read and may not change, before and after the connection was lost.
func TestAuth(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	chroot := strings.TrimPrefix(servers, z.Addr)
	p := startProxy(t, z.Addr)
	file := filepath.Join(t.TempDir(), "auth")
	must(t, os.WriteFile(file, []byte("kingpin:s3cret:x\n"), 0o600))
	auth, err := zookeeper.ReadAuth(file)
	must(t, err)
	o := hasty
	o.Auth = auth
	c, stranger := open(t, p.Addr+chroot, o), open(t, servers, hasty)
	o.Auth = "kingpin:wrong"
	imposter := open(t, servers, o)
	populate(t, c)
	advance(t, c, blacklist.Pointer(), "", v1)
	must(t, c.Link(t.Context(), "web.dep", registry.Edge(blacklist)))

	p.Cut()
	connected(t, c)
	advance(t, c, blacklist.Pointer(), v1, v2)
	for name, other := range map[string]*zookeeper.Client{"a stranger": stranger, "an imposter": imposter} {
		if s, err := other.State(t.Context(), blacklist.Pointer()); err != nil || s.Version != v2 {
			t.Errorf("%s reads %+v, %v", name, s, err)
		}
		_, err := other.Advance(t.Context(), blacklist.Pointer(), v2, v3, nil)
		refused(t, err, registry.ErrPermission, name+" publishes")
		refused(t, other.Create(t.Context(), "/config/manageddata/spam/other"), registry.ErrPermission, name+" creates")
		refused(t, other.Delete(t.Context(), blacklist.Pointer()), registry.ErrPermission, name+" deletes")
		refused(t, other.Unlink(t.Context(), "web.dep", registry.Edge(blacklist)), registry.ErrPermission, name+" unlinks")
		refused(t, other.Join(t.Context(), users, registry.Member{Endpoint: "10.0.0.1:9090"}), registry.ErrPermission, name+" joins")
	}
	members := membersOf(t, stranger, users)
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	members.until(t, "the member", serve(1))

	conn := raw(t, z.Addr)
	must(t, conn.AddAuth("digest", []byte(auth))) // others do not get to see the digest
	acl, _, err := conn.GetACL(chroot + string(blacklist.Pointer()))
	must(t, err)
	want := append(zk.DigestACL(zk.PermAll, "kingpin", "s3cret:x"), zk.WorldACL(zk.PermRead)...)
	if fmt.Sprint(acl) != fmt.Sprint(want) {
		t.Errorf("the ACL is %+v, want %+v", acl, want)
	}
}

// TestACL: what is put on nodes may be said.
func TestACL(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	o := hasty
	o.ACL = []zookeeper.ACL{{"cdrwa", "ip", "127.0.0.1"}, {"r", "world", "anyone"}}
	c := open(t, servers, o)
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	advance(t, c, blacklist.Pointer(), "", v1)
	acl, _, err := raw(t, z.Addr).GetACL(strings.TrimPrefix(servers, z.Addr) + string(blacklist.Pointer()))
	if err != nil || len(acl) != 2 || acl[0] != (zk.ACL{Perms: zk.PermAll, Scheme: "ip", ID: "127.0.0.1"}) {
		t.Errorf("the ACL is %+v, %v", acl, err)
	}
}

// TestNoPermissionToRead is a trouble of the one feed, and passes.
func TestNoPermissionToRead(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	conn, path := raw(t, z.Addr), strings.TrimPrefix(servers, z.Addr)+string(blacklist.Pointer())
	_, err := conn.SetACL(path, zk.WorldACL(zk.PermAdmin|zk.PermWrite), -1)
	must(t, err)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.trouble(t, registry.ErrPermission)
	must(t, c.Err())
	_, err = conn.SetACL(path, zk.WorldACL(zk.PermAll), -1)
	must(t, err)
	pointer.until(t, "the state", at(""))
}

// certificates makes a server's key and certificate by Java's own tool. It returns the lines of configuration that use them, and who
// has signed them.
func certificates(t *testing.T) (config []string, authority *x509.CertPool) {
	t.Helper()
	if _, err := exec.LookPath("keytool"); err != nil {
		if os.Getenv("KINGPIN_REQUIRE") == "all" {
			t.Fatal("this needs keytool, a part of Java, and KINGPIN_REQUIRE=all")
		}
		t.Skip("SKIPPED: this needs keytool, a part of Java")
	}
	dir := t.TempDir()
	store, trusted, exported := filepath.Join(dir, "server.jks"), filepath.Join(dir, "trusted.jks"), filepath.Join(dir, "server.pem")
	for _, args := range [][]string{
		{"-keystore", store, "-genkeypair", "-alias", "zk", "-keyalg", "RSA", "-dname", "CN=zk.example.com",
			"-ext", "san=dns:zk.example.com,ip:127.0.0.1", "-ext", "bc=ca:true", "-validity", "7", "-storetype", "JKS", "-keypass", "changeit"},
		{"-keystore", store, "-exportcert", "-alias", "zk", "-rfc", "-file", exported},
		{"-keystore", trusted, "-importcert", "-alias", "zk", "-noprompt", "-file", exported, "-storetype", "JKS"},
	} {
		cmd := exec.Command("keytool", append(args, "-storepass", "changeit")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	pem, err := os.ReadFile(exported)
	must(t, err)
	authority = x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		t.Fatal("keytool has written no certificate")
	}
	return []string{
		"ssl.keyStore.location=" + store, "ssl.keyStore.password=changeit",
		"ssl.trustStore.location=" + trusted, "ssl.trustStore.password=changeit",
		"ssl.clientAuth=none",
	}, authority
}

// TestTLS: the secure port, its certificate checked against the name in the list of servers, also after a loss.
func TestTLS(t *testing.T) {
	t.Parallel()
	config, authority := certificates(t)
	z := server.StartZooKeeper(t, config...)
	o := hasty
	o.TLS = &tls.Config{RootCAs: authority}
	c := open(t, z.Secure, o)
	populate(t, c)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "that it exists", at(""))
	advance(t, open(t, z.Addr, hasty), blacklist.Pointer(), "", v1)
	pointer.until(t, "what was published on the plain port", at(v1))
	z.Kill()
	must(t, z.Start())
	advance(t, c, blacklist.Pointer(), v1, v2)
	pointer.until(t, "what is published now", at(v2))

	o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	nobody := open(t, z.Secure, o)
	watch(t, nobody, blacklist.Pointer()).trouble(t, registry.ErrUnreachable)
	says := func(c *zookeeper.Client, words string) { // if it took too long the first time, another time
		t.Helper()
		eventually(t, func() error {
			if err := c.Err(); !strings.Contains(fmt.Sprint(err), words) {
				return fmt.Errorf("want %q in what is wrong: %v", words, err)
			}
			return nil
		})
	}
	says(nobody, "certificate")
	o.TLS = &tls.Config{RootCAs: authority, ServerName: "elsewhere.example.com"}
	elsewhere := open(t, z.Secure, o)
	watch(t, elsewhere, blacklist.Pointer()).trouble(t, registry.ErrUnreachable)
	says(elsewhere, "elsewhere.example.com")
}
