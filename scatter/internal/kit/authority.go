package kit

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/pki"
)

// Loopback is where the targets of tests listen.
var Loopback = netip.MustParseAddr("127.0.0.1")

// Authority makes certificates for one test.
type Authority struct {
	t   *testing.T
	dir string
}

// NewAuthority makes an authority.
func NewAuthority(t *testing.T) *Authority {
	t.Helper()
	a := &Authority{t, filepath.Join(t.TempDir(), "ca")}
	if err := pki.Init(a.dir); err != nil {
		t.Fatal(err)
	}
	return a
}

// Host makes the certificates of a host and returns their directory.
func (a *Authority) Host(name string) string {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), name)
	if err := pki.Issue(a.dir, name, []netip.Addr{Loopback}, dir); err != nil {
		a.t.Fatal(err)
	}
	return dir
}

// LogBook keeps what was logged.
type LogBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps what is logged.
func (l *LogBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// String is all that was logged.
func (l *LogBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Eventually waits until ok holds; the test's own time-out bounds the wait.
func Eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended before")
		case <-time.After(time.Millisecond):
		}
	}
}
