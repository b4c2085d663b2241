package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// fleetOptions are the settings by which a machine is part of a fleet: those that say which and how are of --direct too.
func fleetOptions() []option {
	return []option{
		{name: "zookeeper", value: "", word: "HOSTS", usage: "be part of the fleet that shares this ensemble: host:port,.../chroot"},
		{name: "zookeeper-hosts-file", value: "", word: "FILE", usage: "the same, from a file: one host:port a line"},
		{name: "zookeeper-auth-file", value: "", word: "FILE", usage: "who we are to the ensemble: one line user:password"},
		{name: "zookeeper-tls-ca", value: "", word: "FILE", usage: "whose certificates the ensemble has; makes connections to its secure port"},
		{name: "zookeeper-tls-cert", value: "", word: "FILE", usage: "our certificate for it"},
		{name: "zookeeper-tls-key", value: "", word: "FILE", usage: "the key of our certificate"},
		{name: "python-lock", value: true, usage: "take the lock of Python publishers; needed while there is one of them"},
		{name: "s3-bucket", value: "", word: "BUCKET", usage: "where the fleet keeps the versions"},
		{name: "s3-endpoint", value: "", word: "URL", usage: "of an S3-compatible server; empty: AWS"},
		{name: "s3-region", value: "", word: "REGION", usage: "empty: as the AWS SDK finds it; us-east-1 with --s3-endpoint"},
		{name: "s3-path-style", value: false, usage: "the bucket in the path, not in the host name, as most servers other than AWS want it"},
		{name: "aws-key-file", value: "", word: "FILE", usage: "credentials as the Python KingPin had them; empty: as the AWS SDK finds them"},
	}
}

// fleetSettings say where the ensemble and the bucket of a fleet are. What they name is looked at when it is needed: a
// certificate that comes later, or a name that DNS does not know yet, keeps nobody from reading what is here.
type fleetSettings struct {
	hosts      string // host:port,.../chroot
	hostsFile  string // the same, one a line
	authFile   string
	caFile     string
	certFile   string
	keyFile    string
	pythonLock bool
	s3         mirror.S3Options
}

// fleet reads the settings of a fleet; nil if this machine is part of none.
func (r resolved) fleet() (*fleetSettings, error) {
	f := r.fleetValues()
	if f.hosts != "" || f.hostsFile != "" {
		return f, f.check()
	}
	for _, o := range fleetOptions() {
		if value, isText := o.value.(string); isText && r.set.Lookup(o.name).Value.String() != value {
			return nil, fmt.Errorf("%s is of no use without zookeeper", o.name)
		}
	}
	return nil, nil
}

func (r resolved) fleetValues() *fleetSettings {
	text := func(name string) string { return r.set.Lookup(name).Value.String() }
	return &fleetSettings{
		hosts: text("zookeeper"), hostsFile: text("zookeeper-hosts-file"), authFile: text("zookeeper-auth-file"),
		caFile: text("zookeeper-tls-ca"), certFile: text("zookeeper-tls-cert"), keyFile: text("zookeeper-tls-key"),
		pythonLock: text("python-lock") == "true",
		s3: mirror.S3Options{
			Bucket: text("s3-bucket"), Endpoint: text("s3-endpoint"), Region: text("s3-region"),
			PathStyle: text("s3-path-style") == "true", KeyFile: text("aws-key-file"),
		},
	}
}

// check says what is wrong with the settings themselves, whatever they name.
func (f *fleetSettings) check() error {
	switch {
	case f.hosts != "" && f.hostsFile != "":
		return errors.New("zookeeper and zookeeper-hosts-file: one of them")
	case f.s3.Bucket == "":
		return errors.New("s3-bucket is missing: the fleet of a ZooKeeper keeps its versions in one")
	case (f.certFile == "") != (f.keyFile == ""):
		return errors.New("zookeeper-tls-cert and zookeeper-tls-key: both or none")
	}
	if f.hosts != "" {
		if err := checkHosts(f.hosts); err != nil {
			return err
		}
	}
	return f.checkEndpoint()
}

func (f *fleetSettings) checkEndpoint() error {
	if f.s3.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(f.s3.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return errors.New("s3-endpoint is not http://HOST:PORT or https://HOST:PORT") // a password in it is not for the log
	}
	return nil
}

// errNobody keeps a client that only parses from asking anybody.
var errNobody = errors.New("nobody is asked")

// checkHosts says whether a list of servers can be understood.
func checkHosts(hosts string) error {
	c, err := zookeeper.Open(hosts, zookeeper.Options{
		Dial:   func(context.Context, string, string) (net.Conn, error) { return nil, errNobody },
		Lookup: func(context.Context, string) ([]string, error) { return nil, errNobody },
	})
	if err != nil {
		return err
	}
	return c.Close()
}

// source names the ensemble for people.
func (f *fleetSettings) source() string {
	if f.hosts != "" {
		return f.hosts
	}
	return f.hostsFile
}

// servers are the hosts of the ensemble: host:port,.../chroot.
func (f *fleetSettings) servers() (string, error) {
	if f.hosts != "" {
		return f.hosts, nil
	}
	return readHosts(f.hostsFile)
}

// ensemble opens the registry. It reads the files that the settings name, and does not wait for anybody.
func (f *fleetSettings) ensemble(o zookeeper.Options) (*zookeeper.Client, error) {
	hosts, err := f.servers()
	if err != nil {
		return nil, err
	}
	if f.authFile != "" {
		if o.Auth, err = zookeeper.ReadAuth(f.authFile); err != nil {
			return nil, fmt.Errorf("zookeeper-auth-file %s: %w", f.authFile, err)
		}
	}
	if o.TLS, err = f.tls(); err != nil {
		return nil, err
	}
	o.NoPythonLock = !f.pythonLock
	return zookeeper.Open(hosts, o)
}

// bodies opens the bucket, as ensemble does the registry.
func (f *fleetSettings) bodies(ctx context.Context, maxBody int64, observe func(string, int, time.Duration), log *slog.Logger) (*mirror.S3, error) {
	o := f.s3
	o.MaxBody, o.Observe, o.Logger = maxBody, observe, log
	return mirror.OpenS3(ctx, o)
}

// checkFiles says whether everything that the settings name can be read here and now.
func (f *fleetSettings) checkFiles(ctx context.Context) error {
	silent := slog.New(slog.DiscardHandler)
	c, err := f.ensemble(zookeeper.Options{
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errNobody },
	})
	if err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	s, err := f.bodies(ctx, mirror.DefaultMaxBody, nil, silent)
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// tls is nil unless a setting asks for it. Our own certificate is read anew for each connection, since such are short-lived.
func (f *fleetSettings) tls() (*tls.Config, error) {
	if f.caFile == "" && f.certFile == "" {
		return nil, nil
	}
	config := &tls.Config{}
	if f.caFile != "" {
		pem, err := readSmall(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("zookeeper-tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("zookeeper-tls-ca %s holds no certificate in PEM: %w", f.caFile, registry.ErrInvalid)
		}
	}
	if f.certFile != "" {
		own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
			if err != nil {
				return nil, fmt.Errorf("zookeeper-tls-cert %s, zookeeper-tls-key %s: %w", f.certFile, f.keyFile, err)
			}
			return &pair, nil
		}
		if _, err := own(nil); err != nil {
			return nil, err
		}
		config.GetClientCertificate = own
	}
	return config, nil
}

// maxSmall bounds what somebody wrote by hand, in bytes.
const maxSmall = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := limited(f, maxSmall)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return data, err
}

// readHosts reads a file of the Python KingPin: one host:port a line. Blank lines have no meaning, nor has # and what follows; the
// last line may have the chroot behind it.
func readHosts(path string) (string, error) {
	data, err := readSmall(path)
	if err != nil {
		return "", fmt.Errorf("zookeeper-hosts-file: %w", err)
	}
	var hosts []string
	for scanner := bufio.NewScanner(strings.NewReader(string(data))); scanner.Scan(); {
		if line := strings.TrimSpace(uncomment(scanner.Text())); line != "" {
			hosts = append(hosts, line)
		}
	}
	if len(hosts) == 0 {
		return "", fmt.Errorf("zookeeper-hosts-file %s names no host: %w", path, registry.ErrInvalid)
	}
	return strings.Join(hosts, ","), nil
}
