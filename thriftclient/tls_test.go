package thriftclient_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate of 127.0.0.1.
func (a *authority) issue(name string) (cert, key []byte) {
	a.t.Helper()
	private := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private8})
}

// serveTLS starts a server that wants to know its clients, and tells whom it sees.
func (a *authority) serveTLS(seen chan<- string) *storm.Server {
	a.t.Helper()
	pair, err := tls.X509KeyPair(a.issue("server"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return serve(a.t, storm.Options{TLS: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			seen <- s.PeerCertificates[0].Subject.CommonName
			return nil
		},
	}})
}

func save(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	a := newAuthority(t)
	seen := make(chan string, 100)
	s := a.serveTLS(seen)
	dir := t.TempDir()
	files := &thriftclient.TLSFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	save(t, files.CA, a.pem)
	renew := func(name string) {
		cert, key := a.issue(name)
		save(t, files.Cert, cert)
		save(t, files.Key, key)
	}
	renew("first")
	var lines bytes.Buffer
	connect := func() string {
		t.Helper()
		p := open(t, thriftclient.Options{TLSFiles: files, Warm: -1, Logger: slog.New(slog.NewTextHandler(&lines, nil))}, s.Addr())
		mustEcho(t, p)
		<-time.After(5 * time.Millisecond) // so that the idle connection is looked at: TLS has said something meanwhile
		mustEcho(t, p)
		if n := len(seen); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
		p.Close(context.Background())
		return <-seen
	}
	if who := connect(); who != "first" {
		t.Errorf("the server sees %q", who)
	}
	renew("the second one")
	if who := connect(); who != "the second one" {
		t.Errorf("the server sees %q after the certificate was renewed", who)
	}
	save(t, files.Cert, []byte("half of it"))
	if who := connect(); who != "the second one" {
		t.Errorf("the server sees %q while the certificate is being replaced", who)
	}
	if !strings.Contains(lines.String(), "certificates cannot be read") {
		t.Errorf("nobody was told: %s", &lines)
	}
}

// A server that hangs up as TLS wants it says so before it does, and those bytes are unread. The next call must not be lost in there.
func TestAConnectionThatTLSHasEndedIsNotUsed(t *testing.T) {
	a := newAuthority(t)
	pair, err := tls.X509KeyPair(a.issue("server"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan *tls.Conn, 1)
	addr := strange(t, func(c net.Conn, _ thrift.TProtocol) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
		served <- secure
		reply(same[int32], same[string])(c, thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(secure, nil), 4096), nil))
	})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	p := open(t, thriftclient.Options{TLS: &tls.Config{RootCAs: roots}, Warm: -1, Timeout: patience}, addr)
	for range 5 {
		mustEcho(t, p) // not idempotent: it is not sent twice
		if err := (<-served).Close(); err != nil {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond) // idle for long enough to be looked at
	}
}

func TestAServerOfAnotherAuthorityIsRefused(t *testing.T) {
	s := newAuthority(t).serveTLS(make(chan string, 100))
	stranger := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(stranger.cert)
	p := open(t, thriftclient.Options{TLS: &tls.Config{RootCAs: pool}, Attempts: 1}, s.Addr())
	_, err := echo(context.Background(), p)
	if e := failure(t, err); e.Sent {
		t.Errorf("%+v", e)
	}
	p = open(t, thriftclient.Options{TLSFiles: &thriftclient.TLSFiles{CA: "/nowhere"}, Attempts: 1}, s.Addr())
	if _, err = echo(context.Background(), p); err == nil {
		t.Error("certificates that are not there are good")
	}
	if _, err = echo(context.Background(), open(t, thriftclient.Options{Timeout: time.Second}, s.Addr())); err == nil {
		t.Error("a call in the clear is answered")
	}
}
