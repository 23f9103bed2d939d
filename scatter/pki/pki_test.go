package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00::1")}

// newCA makes an authority in a directory of its own.
func newCA(t *testing.T, opts ...Option) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Init(dir, opts...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newHost makes the directory of host name.
func newHost(t *testing.T, ca, name string, opts ...Option) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := Issue(ca, name, loopback, dir, opts...); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIssueWritesTheLayoutOfQEMU(t *testing.T) {
	dir := newHost(t, newCA(t), "alpha")
	modes := map[string]fs.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode()
	}
	want := map[string]fs.FileMode{CACert: 0o644, ServerCert: 0o644, ServerKey: 0o600, ClientCert: 0o644, ClientKey: 0o600}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Fatal(diff)
	}
}

func TestCertificateNamesItsHost(t *testing.T) {
	dir := newHost(t, newCA(t), "alpha.example")
	for name, usage := range map[string]x509.ExtKeyUsage{ServerCert: x509.ExtKeyUsageServerAuth, ClientCert: x509.ExtKeyUsageClientAuth} {
		c := readCert(t, filepath.Join(dir, name))
		if c.Subject.CommonName != "alpha.example" || !slices.Equal(c.DNSNames, []string{"alpha.example"}) {
			t.Errorf("%s: CN %q, DNS %q", name, c.Subject.CommonName, c.DNSNames)
		}
		if len(c.IPAddresses) != 2 || c.IPAddresses[0].String() != "127.0.0.1" || c.IPAddresses[1].String() != "fd00::1" {
			t.Errorf("%s: IPs %v", name, c.IPAddresses)
		}
		if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{usage}) {
			t.Errorf("%s: usage %v, want %v", name, c.ExtKeyUsage, usage)
		}
		// QEMU refuses a certificate that lacks either.
		if want := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment; c.KeyUsage != want {
			t.Errorf("%s: key usage %v, want %v", name, c.KeyUsage, want)
		}
		if life := time.Until(c.NotAfter); life < LeafLife-time.Hour || life > LeafLife {
			t.Errorf("%s: valid for %v, want %v", name, life, LeafLife)
		}
	}
}

func TestLifeIsConfigurable(t *testing.T) {
	dir := newHost(t, newCA(t), "alpha", Life(48*time.Hour))
	if left := time.Until(readCert(t, filepath.Join(dir, ClientCert)).NotAfter); left > 48*time.Hour || left < 47*time.Hour {
		t.Fatalf("valid for %v, want 48h", left)
	}
	if err := Issue(newCA(t), "alpha", nil, t.TempDir(), Life(0)); err == nil {
		t.Fatal("validity 0 accepted")
	}
}

func TestLeafDoesNotOutliveItsAuthority(t *testing.T) {
	ca := newCA(t, Life(time.Hour))
	leaf, root := readCert(t, filepath.Join(newHost(t, ca, "alpha"), ServerCert)), readCert(t, filepath.Join(ca, CACert))
	if leaf.NotAfter.After(root.NotAfter) {
		t.Fatalf("leaf until %v, authority until %v", leaf.NotAfter, root.NotAfter)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	ca := newCA(t)
	before, err := os.ReadFile(filepath.Join(ca, CAKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(ca); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second init: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(ca, CAKey))
	if err != nil || !slices.Equal(before, after) {
		t.Fatalf("key changed (%v)", err)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ClientKey), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Issue(ca, "alpha", nil, dir); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("issue over a key: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("a refused issue left files behind: %v %v", entries, err)
	}
}

// TestNewFileIsNew is for a file that appears between the look and the writing.
func TestNewFileIsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), ClientKey)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newFile(path, []byte("other"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Fatalf("now %q (%v)", b, err)
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := newCA(t)
	for _, c := range []struct {
		name string
		ip   string
		want string
	}{
		{"", "127.0.0.1", "host name"},
		{"../evil", "127.0.0.1", "host name"},
		{"a b", "127.0.0.1", "host name"},
		{strings.Repeat("a", 65), "127.0.0.1", "host name"},
		{"10.0.0.1", "127.0.0.1", "is an address"},
		{"alpha", "0.0.0.0", "address"},
		{"alpha", "239.1.1.1", "address"},
	} {
		err := Issue(ca, c.name, []netip.Addr{netip.MustParseAddr(c.ip)}, filepath.Join(t.TempDir(), "out"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("issue %q %s: %v, want %q", c.name, c.ip, err, c.want)
		}
	}
}

func TestIssueRefusesABadAuthority(t *testing.T) {
	expired := newCA(t, At(time.Now().Add(-2*CALife)))
	exposed := newCA(t)
	if err := os.Chmod(filepath.Join(exposed, CAKey), 0o644); err != nil {
		t.Fatal(err)
	}
	mixed := newCA(t)
	replace(t, filepath.Join(newCA(t), CAKey), filepath.Join(mixed, CAKey))
	for dir, want := range map[string]string{
		t.TempDir(): "no such file",
		expired:     "expired",
		exposed:     "chmod 600",
		mixed:       "does not go with",
		leafAsCA(t): "not an authority's certificate",
	} {
		err := Issue(dir, "alpha", nil, filepath.Join(t.TempDir(), "out"))
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), want) || e.Remedy == "" {
			t.Errorf("%v, want an *Error with %q", err, want)
		}
	}
}

// leafAsCA makes a directory that offers a host's certificate as an authority's.
func leafAsCA(t *testing.T) string {
	host, dir := newHost(t, newCA(t), "alpha"), t.TempDir()
	replace(t, filepath.Join(host, ServerCert), filepath.Join(dir, CACert))
	replace(t, filepath.Join(host, ServerKey), filepath.Join(dir, CAKey))
	return dir
}

// replace copies src over dst with dst's usual mode.
func replace(t *testing.T, src, dst string) {
	t.Helper()
	b, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dst); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// selfMade signs a leaf for template t with the authority in ca, in place of dir's server pair.
func selfMade(t *testing.T, ca, dir string, change func(*x509.Certificate)) {
	t.Helper()
	a, err := loadAuthority(ca, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tmpl := readCert(t, filepath.Join(dir, ServerCert))
	change(tmpl)
	key := readKeyFile(t, filepath.Join(dir, ServerKey))
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, ServerCert), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readKeyFile(t *testing.T, path string) *ecdsa.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*ecdsa.PrivateKey)
}
