package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// result is what the two ends of one connection saw.
type result struct {
	client, server   error
	atClient, atServ string // peer's name as each end saw it
}

// connect runs a real TLS connection over TCP: the server greets, the client reads the greeting.
func connect(t *testing.T, client, server *tls.Config) result {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var r result
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.atServ, r.server = serve(l, server)
	}()
	r.atClient, r.client = dial(l.Addr().String(), client)
	<-done
	return r
}

func serve(l net.Listener, cfg *tls.Config) (string, error) {
	raw, err := l.Accept()
	if err != nil {
		return "", err
	}
	c := tls.Server(raw, cfg)
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return "", Explain("source", err)
	}
	return PeerName(c.ConnectionState()), nil
}

func dial(addr string, cfg *tls.Config) (string, error) {
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return "", Explain("target", err)
	}
	defer c.Close()
	if c.ConnectionState().Version != tls.VersionTLS13 {
		return "", errors.New("not TLS 1.3")
	}
	_, err = io.ReadAll(c)
	return PeerName(c.ConnectionState()), Explain("target", err)
}

func client(t *testing.T, dir, want string) *tls.Config {
	t.Helper()
	c, err := LoadClient(dir, want)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func server(t *testing.T, dir string, allow ...string) *tls.Config {
	t.Helper()
	c, err := LoadServer(dir, allow)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHostsOfOneAuthorityConnect(t *testing.T) {
	ca := newCA(t)
	source, target := newHost(t, ca, "source"), newHost(t, ca, "target")
	for _, want := range []string{"target", "127.0.0.1", "fd00::1", "TARGET"} {
		r := connect(t, client(t, source, want), server(t, target, "other", "Source"))
		if r.client != nil || r.server != nil {
			t.Fatalf("want %s: %v / %v", want, r.client, r.server)
		}
		if r.atClient != "target" || r.atServ != "source" {
			t.Fatalf("names: %q, %q", r.atClient, r.atServ)
		}
	}
	if r := connect(t, client(t, source, "target"), server(t, target)); r.client != nil || r.server != nil {
		t.Fatalf("empty allow list: %v / %v", r.client, r.server)
	}
}

// wantError asserts an *Error that contains text and has a remedy.
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(err.Error(), text) || e.Remedy == "" || e.Subject == "" {
		t.Errorf("got %v, want an *Error with %q", err, text)
	}
}

func TestNameNotAllowed(t *testing.T) {
	ca := newCA(t)
	r := connect(t, client(t, newHost(t, ca, "mallory"), "target"), server(t, newHost(t, ca, "target"), "source"))
	wantError(t, r.server, `peer "mallory": not allowed here (allowed: source)`)
	wantError(t, r.client, "target: refused our certificate")
}

func TestTargetOfAnotherName(t *testing.T) {
	ca := newCA(t)
	source, target := newHost(t, ca, "source"), newHost(t, ca, "target")
	for _, want := range []string{"other", "10.9.9.9"} {
		r := connect(t, client(t, source, want), server(t, target))
		wantError(t, r.client, "its certificate is for target, 127.0.0.1, fd00::1, not for "+want)
		if r.server == nil {
			t.Error("server side succeeded")
		}
	}
}

func TestOtherAuthority(t *testing.T) {
	r := connect(t, client(t, newHost(t, newCA(t), "source"), "target"), server(t, newHost(t, newCA(t), "target")))
	wantError(t, r.client, "another authority")
	wantError(t, r.server, "refused our certificate")
}

// TestForgedClient has the target's authority in its pool but a certificate of its own making.
func TestForgedClient(t *testing.T) {
	ca := newCA(t)
	c := client(t, newHost(t, newCA(t), "source"), "target")
	c.RootCAs = server(t, newHost(t, ca, "x")).ClientCAs
	// Without this the client would not even show a certificate of an authority that the server did not name.
	own := c.Certificates[0]
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	r := connect(t, c, server(t, newHost(t, ca, "target"), "source"))
	wantError(t, r.server, "another authority")
	wantError(t, r.client, "does not know the authority")
}

func TestClientWithoutCertificate(t *testing.T) {
	ca := newCA(t)
	c := client(t, newHost(t, ca, "source"), "target")
	c.Certificates = nil
	r := connect(t, c, server(t, newHost(t, ca, "target")))
	wantError(t, r.client, "wants a certificate of us")
	if r.server == nil {
		t.Error("server accepted a client without certificate")
	}
}

// TestExpiredOnTheWire lets a certificate expire between loading and dialling, by the verifier's clock.
func TestExpiredOnTheWire(t *testing.T) {
	ca := newCA(t)
	c, s := client(t, newHost(t, ca, "source"), "target"), server(t, newHost(t, ca, "target", Life(time.Hour)))
	c.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r := connect(t, c, s)
	wantError(t, r.client, "its certificate is out of date")
	wantError(t, r.server, "refused our certificate")
}

// TestExpiredClientOnTheWire is the same from the other end.
func TestExpiredClientOnTheWire(t *testing.T) {
	ca := newCA(t)
	s := server(t, newHost(t, ca, "target"))
	s.GetConfigForClient = nil
	s.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r := connect(t, client(t, newHost(t, ca, "source", Life(time.Hour)), "target"), s)
	wantError(t, r.server, "its certificate is out of date")
	wantError(t, r.client, "says that our certificate is out of date")
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := newCA(t)
	c := client(t, newHost(t, ca, "source"), "target")
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if r := connect(t, c, server(t, newHost(t, ca, "target"))); r.client == nil || r.server == nil {
		t.Fatalf("TLS 1.2 was spoken: %v / %v", r.client, r.server)
	}
}

func TestPortWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			c.Close()
		}
	}()
	_, err = dial(l.Addr().String(), client(t, newHost(t, newCA(t), "source"), "target"))
	<-done
	wantError(t, err, "does not speak TLS")
}

func TestLoadRefuses(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(t *testing.T, ca, dir string)
		want  string
	}{
		{"no directory", func(t *testing.T, _, dir string) { must(t, os.RemoveAll(dir)) }, "no such file"},
		{"no key", func(t *testing.T, _, dir string) { must(t, os.Remove(filepath.Join(dir, ServerKey))) }, "no such file"},
		{"key open to the world", func(t *testing.T, _, dir string) { must(t, os.Chmod(filepath.Join(dir, ServerKey), 0o644)) }, "chmod 600"},
		{"key writable by group", func(t *testing.T, _, dir string) { must(t, os.Chmod(filepath.Join(dir, ServerKey), 0o660)) }, "chmod 600"},
		{"key of another", func(t *testing.T, ca, dir string) {
			replace(t, filepath.Join(newHost(t, ca, "x"), ServerKey), filepath.Join(dir, ServerKey))
		}, "does not go with"},
		{"authority of another", func(t *testing.T, _, dir string) {
			replace(t, filepath.Join(newCA(t), CACert), filepath.Join(dir, CACert))
		}, "not signed by the authority"},
		{"garbage authority", func(t *testing.T, _, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, CACert), []byte("garbage"), 0o644))
		}, "no certificate in it"},
		{"garbage certificate", func(t *testing.T, _, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, ServerCert), []byte("garbage"), 0o644))
		}, "server-cert.pem"},
		{"oversized certificate", func(t *testing.T, _, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, ServerCert), make([]byte, MaxFile+1), 0o644))
		}, "larger than"},
		{"expired", func(t *testing.T, ca, dir string) {
			selfMade(t, ca, dir, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, "expired on"},
		{"from the future", func(t *testing.T, ca, dir string) {
			selfMade(t, ca, dir, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
		}, "valid only from"},
		{"for clients only", func(t *testing.T, ca, dir string) {
			selfMade(t, ca, dir, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		}, "not meant for serving"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ca := newCA(t)
			dir := newHost(t, ca, "target")
			c.spoil(t, ca, dir)
			_, err := LoadServer(dir, nil)
			wantError(t, err, c.want)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupMayReadTheKey(t *testing.T) {
	dir := newHost(t, newCA(t), "target")
	must(t, os.Chmod(filepath.Join(dir, ServerKey), 0o640))
	server(t, dir)
}

func TestOneCertificateServesBothEnds(t *testing.T) {
	ca := newCA(t)
	dir := newHost(t, ca, "target")
	selfMade(t, ca, dir, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	})
	must(t, os.Remove(filepath.Join(dir, ClientCert)))
	must(t, os.Remove(filepath.Join(dir, ClientKey)))
	r := connect(t, client(t, dir, "target"), server(t, dir, "target"))
	if r.client != nil || r.server != nil {
		t.Fatalf("%v / %v", r.client, r.server)
	}
}

// TestHalfAPairIsNotReplaced: a missing key is an error, not a reason to show the other end's certificate.
func TestHalfAPairIsNotReplaced(t *testing.T) {
	dir := newHost(t, newCA(t), "target")
	must(t, os.Remove(filepath.Join(dir, ClientKey)))
	_, err := LoadClient(dir, "x")
	wantError(t, err, ClientKey)
}

func TestNameWithoutSAN(t *testing.T) {
	ca := newCA(t)
	dir := newHost(t, ca, "old")
	selfMade(t, ca, dir, func(c *x509.Certificate) {
		c.DNSNames = nil
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	})
	must(t, os.Remove(filepath.Join(dir, ClientCert)))
	must(t, os.Remove(filepath.Join(dir, ClientKey)))
	if r := connect(t, client(t, dir, "target"), server(t, newHost(t, ca, "target"), "old")); r.server != nil || r.atServ != "old" {
		t.Fatalf("%q %v", r.atServ, r.server)
	}
}

// TestNothingIsResumed: a peer that is no longer allowed must not come back on an old ticket.
func TestNothingIsResumed(t *testing.T) {
	ca := newCA(t)
	c, s := client(t, newHost(t, ca, "source"), "target"), server(t, newHost(t, ca, "target"))
	c.SessionTicketsDisabled = false
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := false
	c.VerifyConnection = func(s tls.ConnectionState) error {
		resumed = resumed || s.DidResume
		return nil
	}
	// Without GetConfigForClient, which makes new ticket keys for each connection.
	s.GetConfigForClient = nil
	for range 2 {
		if r := connect(t, c, s); r.client != nil || r.server != nil {
			t.Fatalf("%v / %v", r.client, r.server)
		}
	}
	if resumed {
		t.Error("the second connection resumed the first")
	}
}

func TestRenewedFilesNeedNoRestart(t *testing.T) {
	ca := newCA(t)
	source, target := newHost(t, ca, "source"), newHost(t, ca, "target")
	s := server(t, target)
	renewed := newHost(t, ca, "renamed")
	for _, name := range []string{ServerCert, ServerKey} {
		replace(t, filepath.Join(renewed, name), filepath.Join(target, name))
	}
	if r := connect(t, client(t, source, "renamed"), s); r.client != nil || r.server != nil {
		t.Fatalf("%v / %v", r.client, r.server)
	}
}

func TestExplainLeavesOtherErrorsAlone(t *testing.T) {
	if Explain("x", nil) != nil {
		t.Error("nil became an error")
	}
	if err := Explain("x", io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}
