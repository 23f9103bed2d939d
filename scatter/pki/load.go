package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	remedyIssue = "issue a new one with 'scatter pki issue'"
	remedyDir   = "name a directory that 'scatter pki issue' made, or one in QEMU's layout"
)

// LoadClient loads dir for dialling a peer. The peer must show a certificate for want: its name, or an IP address.
func LoadClient(dir, want string) (*tls.Config, error) {
	if want == "" {
		return nil, errors.New("peer: neither name nor address given to check its certificate against")
	}
	own, roots, err := load(dir, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	c := baseConfig(own)
	c.RootCAs = roots
	c.ServerName = want
	return c, nil
}

// LoadServer loads dir for listening. Peers must show a certificate of the same authority for one of allow, by name;
// an empty allow admits every certificate of the authority. The directory is read again for each connection, so
// renewed certificates need no restart.
func LoadServer(dir string, allow []string) (*tls.Config, error) {
	c, err := loadServer(dir, allow)
	if err != nil {
		return nil, err
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return loadServer(dir, allow) }
	return c, nil
}

func loadServer(dir string, allow []string) (*tls.Config, error) {
	own, roots, err := load(dir, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	c := baseConfig(own)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = roots
	c.VerifyConnection = func(s tls.ConnectionState) error { return checkAllowed(s, allow) }
	return c, nil
}

// baseConfig has no session tickets: every connection verifies its peer afresh.
func baseConfig(own tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{own},
		SessionTicketsDisabled: true,
	}
}

// load reads a host's directory and checks that the peer will accept what it holds.
func load(dir string, usage x509.ExtKeyUsage) (tls.Certificate, *x509.CertPool, error) {
	roots, err := readRoots(filepath.Join(dir, CACert))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	p, err := readOwn(dir, usage)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return p.key, roots, p.check(roots, usage)
}

func readRoots(path string) (*x509.CertPool, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, &Error{Subject: path, Problem: "no certificate in it", Remedy: "copy the authority's " + CACert + " there"}
	}
	return pool, nil
}

// readOwn reads the pair for usage, or the other pair where one certificate serves both ends.
func readOwn(dir string, usage x509.ExtKeyUsage) (*pair, error) {
	cert, key, altCert, altKey := ServerCert, ServerKey, ClientCert, ClientKey
	if usage == x509.ExtKeyUsageClientAuth {
		cert, key, altCert, altKey = altCert, altKey, cert, key
	}
	p, err := readPair(dir, cert, key)
	if errors.Is(err, fs.ErrNotExist) && missing(dir, cert, key) && !missing(dir, altCert, altKey) {
		return readPair(dir, altCert, altKey)
	}
	return p, err
}

// missing tells whether neither file is in dir.
func missing(dir, cert, key string) bool {
	for _, name := range []string{cert, key} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// pair is a certificate with its key.
type pair struct {
	certPath string
	certPEM  []byte
	key      tls.Certificate
}

func readPair(dir, certName, keyName string) (*pair, error) {
	p := &pair{certPath: filepath.Join(dir, certName)}
	keyPath := filepath.Join(dir, keyName)
	var err error
	if p.certPEM, err = readFile(p.certPath); err != nil {
		return nil, err
	}
	keyPEM, err := readKey(keyPath)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(keyPEM); block != nil && strings.Contains(block.Type, "ENCRYPTED") {
		return nil, &Error{Subject: keyPath, Problem: "encrypted", Remedy: "store the key without a pass phrase, readable by its owner only"}
	}
	if p.key, err = tls.X509KeyPair(p.certPEM, keyPEM); err != nil {
		return nil, &Error{Subject: p.certPath, Problem: fmt.Sprintf("does not go with %s (%v)", keyName, err), Remedy: remedyIssue, Err: err}
	}
	return p, nil
}

// readKey refuses a key that everybody may read, or others than its owner may write. A group may read
// it: that is how QEMU, run by a user of its own, gets at it in the usual layout.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o027 != 0 {
		return nil, &Error{Subject: path, Problem: fmt.Sprintf("open to others (mode %04o)", info.Mode().Perm()), Remedy: "run: chmod 600 " + path}
	}
	return readFile(path)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Subject: path, Problem: "no such file", Remedy: remedyDir, Err: err}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, &Error{Subject: path, Problem: "not readable", Remedy: "run as the user who owns it", Err: err}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(b) > MaxFile {
		return nil, &Error{Subject: path, Problem: fmt.Sprintf("larger than %d bytes", MaxFile), Remedy: remedyDir}
	}
	return b, err
}

// check finds before any connection what the peer would object to.
func (p *pair) check(roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	leaf := p.key.Leaf
	if err := checkDates(p.certPath, leaf, time.Now(), remedyIssue); err != nil {
		return err
	}
	middle := x509.NewCertPool()
	for _, der := range p.key.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			middle.AddCert(c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.IncompatibleUsage {
		return &Error{Subject: p.certPath, Problem: "not meant for " + usageName(usage), Remedy: remedyIssue, Err: err}
	}
	return &Error{Subject: p.certPath, Problem: fmt.Sprintf("not signed by the authority in %s (%v)", CACert, err), Remedy: "use files of one authority: " + remedyIssue, Err: err}
}

func checkDates(path string, c *x509.Certificate, now time.Time, remedy string) error {
	if now.After(c.NotAfter) {
		return &Error{Subject: path, Problem: "expired on " + c.NotAfter.UTC().Format(time.DateTime) + " UTC", Remedy: remedy}
	}
	if now.Before(c.NotBefore) {
		return &Error{Subject: path, Problem: "valid only from " + c.NotBefore.UTC().Format(time.DateTime) + " UTC", Remedy: "set this host's clock"}
	}
	return nil
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageClientAuth {
		return "dialling (client authentication)"
	}
	return "serving (server authentication)"
}
