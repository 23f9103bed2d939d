package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"
)

// How long certificates are valid unless told otherwise, and how much a host's clock may lag behind the issuer's.
const (
	CALife    = 10 * 365 * 24 * time.Hour
	LeafLife  = 2 * 365 * 24 * time.Hour
	clockSkew = time.Hour
)

// Option changes how a certificate is made.
type Option func(*making)

type making struct {
	life time.Duration
	now  time.Time
}

// Life sets how long the certificates are valid; it must be > 0.
func Life(d time.Duration) Option { return func(m *making) { m.life = d } }

// At makes the certificates as if it were t now.
func At(t time.Time) Option { return func(m *making) { m.now = t } }

func newMaking(life time.Duration, opts []Option) (making, error) {
	m := making{life: life, now: time.Now()}
	for _, o := range opts {
		o(&m)
	}
	if m.life <= 0 {
		return m, fmt.Errorf("validity %v: must be > 0", m.life)
	}
	return m, nil
}

// Init makes a new authority in dir: ca-cert.pem and ca-key.pem. It never overwrites.
func Init(dir string, opts ...Option) error {
	m, err := newMaking(CALife, opts)
	if err != nil {
		return err
	}
	t, err := m.template("")
	if err != nil {
		return err
	}
	// The number keeps two authorities apart, whose names would else be equal: a verifier picks by name.
	t.Subject.CommonName = fmt.Sprintf("scatter CA %x", t.SerialNumber.Bytes()[:4])
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, key, err := sign(t, t, nil)
	if err != nil {
		return err
	}
	return writeDir(dir, []file{{CAKey, 0o600, key}, {CACert, 0o644, cert}})
}

// Issue makes a host's directory outDir: certificates for name and ips, signed by the authority in caDir,
// for serving and for dialling. It never overwrites.
func Issue(caDir, name string, ips []netip.Addr, outDir string, opts ...Option) error {
	m, err := newMaking(LeafLife, opts)
	if err != nil {
		return err
	}
	if err := checkHost(name, ips); err != nil {
		return err
	}
	ca, err := loadAuthority(caDir, m.now)
	if err != nil {
		return err
	}
	files := []file{{CACert, 0o644, ca.pem}}
	for _, end := range []struct {
		cert, key string
		usage     x509.ExtKeyUsage
	}{
		{ServerCert, ServerKey, x509.ExtKeyUsageServerAuth},
		{ClientCert, ClientKey, x509.ExtKeyUsageClientAuth},
	} {
		cert, key, err := m.leaf(ca, name, ips, end.usage)
		if err != nil {
			return err
		}
		files = append(files, file{end.cert, 0o644, cert}, file{end.key, 0o600, key})
	}
	return writeDir(outDir, files)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,62}))*$`)

func checkHost(name string, ips []netip.Addr) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("host name %q: is an address; give the address as an IP", name)
	}
	if len(name) > 64 || !hostName.MatchString(name) {
		return fmt.Errorf("host name %q: must be at most 64 letters, digits, dots and dashes", name)
	}
	for _, ip := range ips {
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return fmt.Errorf("address %v: must be one at which the host is dialled", ip)
		}
	}
	return nil
}

func (m making) leaf(ca *authority, name string, ips []netip.Addr, usage x509.ExtKeyUsage) (cert, key []byte, err error) {
	t, err := m.template(name)
	if err != nil {
		return nil, nil, err
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	t.DNSNames = []string{name}
	for _, ip := range ips {
		t.IPAddresses = append(t.IPAddresses, net.IP(ip.Unmap().AsSlice()))
	}
	// An ECDSA key enciphers nothing, but QEMU refuses a certificate whose critical key usage lacks it.
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	t.BasicConstraintsValid = true
	return sign(t, ca.cert, ca.key)
}

func (m making) template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial.SetBit(serial, 126, 1), // positive and of one length
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    m.now.Add(-clockSkew),
		NotAfter:     m.now.Add(m.life),
	}, nil
}

// sign makes a key for t and a certificate signed by parent's key; signer nil means t signs itself.
func sign(t, parent *x509.Certificate, signer *ecdsa.PrivateKey) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if signer == nil {
		signer = k
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &k.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// authority is a loaded CA directory.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func loadAuthority(dir string, now time.Time) (*authority, error) {
	p, err := readPair(dir, CACert, CAKey)
	if err != nil {
		return nil, err
	}
	key, ok := p.key.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, &Error{Subject: filepath.Join(dir, CAKey), Problem: "not an ECDSA key", Remedy: "issue with the tool that made this authority"}
	}
	cert := p.key.Leaf
	if !cert.IsCA {
		return nil, &Error{Subject: p.certPath, Problem: "not an authority's certificate", Remedy: "name the directory that 'scatter pki init' made"}
	}
	if err := checkDates(p.certPath, cert, now, "make a new authority with 'scatter pki init' and issue every host's certificates again"); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: p.certPEM}, nil
}
