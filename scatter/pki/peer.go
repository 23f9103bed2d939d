package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// PeerName is the name that the peer's verified certificate gives it: the first DNS SAN, or the CN where there is none.
// It is "" when the peer showed no certificate.
func PeerName(s tls.ConnectionState) string {
	if names := peerNames(s); len(names) > 0 {
		return names[0]
	}
	return ""
}

func peerNames(s tls.ConnectionState) []string {
	if len(s.PeerCertificates) == 0 {
		return nil
	}
	return certNames(s.PeerCertificates[0])
}

func certNames(leaf *x509.Certificate) []string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames
	}
	if leaf.Subject.CommonName == "" {
		return nil
	}
	return []string{leaf.Subject.CommonName}
}

// checkAllowed refuses a peer none of whose names is in allow. Host names know no case.
func checkAllowed(s tls.ConnectionState, allow []string) error {
	if len(allow) == 0 {
		return nil
	}
	names := peerNames(s)
	for _, name := range names {
		for _, a := range allow {
			if strings.EqualFold(name, a) {
				return nil
			}
		}
	}
	return &Error{
		Subject: fmt.Sprintf("peer %q", strings.Join(names, ",")),
		Problem: fmt.Sprintf("not allowed here (allowed: %s)", strings.Join(allow, ", ")),
		Remedy:  "add it with --allow-source, or dial with the right certificate",
	}
}

// CheckPeer makes sure that the peer of a connection is called name, by its certificate: whoever may be a target is not yet another target.
func CheckPeer(s tls.ConnectionState, name string) error {
	return checkName(fmt.Sprintf("peer %q", strings.Join(peerNames(s), ",")), peerNames(s), name, "give recv its host's --name there, or issue a certificate for that name")
}

// OwnNames is what the certificates in a host's directory say that it is called; nothing if there are none.
func OwnNames(dir string) []string {
	p, err := readOwn(dir, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil
	}
	return certNames(p.key.Leaf)
}

// CheckOwn makes sure that the certificate by which a host serves is for name.
func CheckOwn(dir, name string) error {
	p, err := readOwn(dir, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	return checkName(p.certPath, certNames(p.key.Leaf), name, "give that as --name, or issue a certificate with 'scatter pki issue'")
}

func checkName(subject string, names []string, name, remedy string) error {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return nil
		}
	}
	return &Error{Subject: subject, Problem: fmt.Sprintf("is not for the name %.64q, but for %s", name, strings.Join(names, ", ")), Remedy: remedy}
}

// Explain turns an error of a handshake, or of the first read after one, into an *Error that says what to do; peer is
// how to call the other side. Other errors, and nil, are returned as they are. Under TLS 1.3 a listener's
// refusal reaches the dialler only with its first read.
func Explain(peer string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	if e := explainAlert(err); e != nil {
		e.Subject, e.Err = peer, err
		return e
	}
	if e := explainVerify(err); e != nil {
		e.Subject, e.Err = peer, err
		return e
	}
	return err
}

// explainVerify is for our own verdict on the peer's certificate.
func explainVerify(err error) *Error {
	if h, ok := errors.AsType[x509.HostnameError](err); ok {
		return &Error{
			Problem: fmt.Sprintf("its certificate is for %s, not for %s", sanText(h.Certificate), h.Host),
			Remedy:  "check the address, or issue it a certificate with that name or IP",
		}
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return explainInvalid(invalid)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &Error{
			Problem: "its certificate is of another authority than the one in our " + CACert,
			Remedy:  "issue both hosts' certificates from one authority",
		}
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Error{Problem: "does not speak TLS (" + header.Msg + ")", Remedy: "check that the port is that of 'scatter recv'"}
	}
	return nil
}

func explainInvalid(e x509.CertificateInvalidError) *Error {
	switch e.Reason {
	case x509.Expired:
		return &Error{Problem: "its certificate is out of date: " + e.Detail, Remedy: "on that host, " + remedyIssue + ", or set the clocks"}
	case x509.IncompatibleUsage:
		return &Error{Problem: "its certificate is not meant for this end of a connection", Remedy: "on that host, " + remedyIssue}
	default:
		return &Error{Problem: "its certificate is invalid: " + e.Error(), Remedy: "on that host, " + remedyIssue}
	}
}

// explainAlert is for the peer's verdict on our certificate, which arrives as a bare alert.
func explainAlert(err error) *Error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return nil
	}
	switch strings.TrimPrefix(op.Err.Error(), "tls: ") {
	case "bad certificate":
		return &Error{Problem: "refused our certificate", Remedy: "its log says why: another authority, out of date, or a name that is not in --allow-source"}
	case "unknown certificate authority":
		return &Error{Problem: "does not know the authority of our certificate", Remedy: "issue both hosts' certificates from one authority"}
	case "expired certificate":
		return &Error{Problem: "says that our certificate is out of date", Remedy: remedyIssue + ", or set the clocks"}
	case "certificate required":
		return &Error{Problem: "wants a certificate of us", Remedy: remedyIssue}
	case "protocol version not supported":
		return &Error{Problem: "does not speak TLS 1.3", Remedy: "check that the port is that of 'scatter recv'"}
	}
	return nil
}

func sanText(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host at all"
	}
	return strings.Join(names, ", ")
}
