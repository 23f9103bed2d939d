package control

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// pair is two ends of one connection over TCP.
func pair(t *testing.T, timeout time.Duration) (*Conn, *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return NewConn(a, "b", timeout), NewConn(b, "a", timeout)
}

// TestConcurrentSendsDoNotMix sends frames of many goroutines at once: each arrives whole.
func TestConcurrentSendsDoNotMix(t *testing.T) {
	const senders, each = 8, 200
	a, b := pair(t, time.Minute)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 100+i*1000)
			for range each {
				if err := a.Send(Data{Body: body}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range senders * each {
		m, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		body := m.(Data).Body
		i := int(body[0])
		if len(body) != 100+i*1000 || bytes.Count(body, body[:1]) != len(body) {
			t.Fatalf("frame of sender %d: %d bytes, mixed", i, len(body))
		}
	}
	wg.Wait()
}

// TestWriteTimeoutBreaksTheConnection: a peer that takes nothing does not hold up its sender for ever, and half a frame
// is never followed by another.
func TestWriteTimeoutBreaksTheConnection(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := NewConn(near, "peer", 10*time.Millisecond)
	received := make(chan error, 1)
	go func() {
		_, err := c.Receive()
		received <- err
	}()
	if err := c.Send(Data{Body: make([]byte, 1000)}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("stuck send: %v", err)
	}
	if err := <-received; err == nil {
		t.Error("the reader was not told")
	}
	if err := c.Send(Ping{}); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send on a broken connection: %v", err)
	}
}

func TestReadDeadline(t *testing.T) {
	a, _ := pair(t, time.Minute)
	if err := a.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsAReceive(t *testing.T) {
	a, _ := pair(t, time.Minute)
	received := make(chan error, 1)
	go func() {
		_, err := a.Receive()
		received <- err
	}()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err == nil {
		t.Error("received from a closed connection")
	}
}

func TestPeerIsNamedInErrors(t *testing.T) {
	a, _ := pair(t, time.Minute)
	a.SetPeer("target-7")
	if a.Peer() != "target-7" {
		t.Errorf("peer %q", a.Peer())
	}
	a.Close()
	if err := a.Send(Ping{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("target-7")) {
		t.Errorf("got %v", err)
	}
}
