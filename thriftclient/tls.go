package thriftclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles are PEM files that are looked at for each new connection, and read again when one of them has changed. Files that
// cannot be read, or do not fit together (one is replaced after the other), leave what was good before in use, and Options.Logger is
// told once. One value may be shared by many pools.
type TLSFiles struct {
	CA   string // who signs the servers' certificates; empty: those that the system trusts
	Cert string // ours, with what stands between it and its CA; empty: none
	Key  string // that of Cert

	mu     sync.Mutex
	read   [3]mark // of the files as they were read
	roots  *x509.CertPool
	own    []tls.Certificate
	loaded bool
}

// mark tells one state of a file from another.
type mark struct {
	modified time.Time
	size     int64
}

// tls is the configuration for the next connection; nil without TLS.
func (p *Pool) tls() (*tls.Config, error) {
	if p.options.TLSFiles == nil {
		return p.options.TLS, nil
	}
	c, stale, err := p.options.TLSFiles.complete(p.options.TLS)
	if was := p.certificates.Swap(stale != nil); was != (stale != nil) {
		if stale != nil {
			p.options.Logger.Warn("certificates cannot be read, the last good ones stay", "err", stale)
		} else {
			p.options.Logger.Info("certificates are good again")
		}
	}
	return c, err
}

// complete is the configuration with the certificates that are in the files now, or those that were, with the reason why they are stale.
func (f *TLSFiles) complete(base *tls.Config) (c *tls.Config, stale, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	marks, err := f.marks()
	if err == nil && (!f.loaded || marks != f.read) {
		if err = f.load(); err == nil {
			f.read, f.loaded = marks, true
		}
	}
	if !f.loaded {
		return nil, nil, fmt.Errorf("TLS files: %w", err)
	}
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	if f.roots != nil {
		c.RootCAs = f.roots
	}
	if f.own != nil {
		c.Certificates = f.own
	}
	return c, err, nil
}

func (f *TLSFiles) marks() (marks [3]mark, err error) {
	for i, name := range []string{f.CA, f.Cert, f.Key} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return marks, err
		}
		marks[i] = mark{info.ModTime(), info.Size()}
	}
	return marks, nil
}

func (f *TLSFiles) load() error {
	var roots *x509.CertPool
	var own []tls.Certificate
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return err
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: no certificate in it", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("a certificate needs its key, and a key its certificate")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return err
		}
		own = []tls.Certificate{pair}
	}
	f.roots, f.own = roots, own
	return nil
}
