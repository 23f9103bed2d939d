package target

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// TestListenIsRefused: what no honest source asks for opens no socket, and the session goes on.
func TestListenIsRefused(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	good := control.Listen{Key: make([]byte, 32), Source: kit.Loopback, AnySource: netip.MustParseAddr("239.77.8.1"), SourceSpecific: netip.MustParseAddr("239.77.8.2"),
		Port: model.DefaultGroupPort, Seconds: 5}
	l := s.open()
	for want, spoil := range map[string]func(*control.Listen){
		"key is malformed":      func(m *control.Listen) { m.Key = m.Key[1:] },
		"group invalid IP":      func(m *control.Listen) { m.AnySource = netip.Addr{} },
		"group 10.0.0.1":        func(m *control.Listen) { m.SourceSpecific = netip.MustParseAddr("10.0.0.1") },
		"must be of one family": func(m *control.Listen) { m.Source = netip.IPv6Loopback() },
		"source address is":     func(m *control.Listen) { m.Source = netip.Addr{} },
		"groups must differ":    func(m *control.Listen) { m.AnySource = m.SourceSpecific },
		"port and time be":      func(m *control.Listen) { m.Port = 0 },
		"source address":        func(m *control.Listen) { m.Source = m.AnySource },
	} {
		m := good
		m.Key = bytes.Clone(m.Key)
		spoil(&m)
		if a := answer[control.Listening](t, l, m); !strings.Contains(a.Error, want) || a.Datagram.IsValid() {
			t.Errorf("%s: %+v", want, a)
		}
	}
	for _, seconds := range []int{-1, 0, 1 << 62, 5} { // bounded; and each ends the one before
		m := good
		m.Seconds = seconds
		if a := answer[control.Listening](t, l, m); a.Error != "" || !a.Datagram.IsValid() || a.MTU == 0 {
			t.Errorf("%d seconds: %+v", seconds, a)
		}
	}
	if a := answer[control.Counted](t, l, control.Count{}); len(a.Probes) > 0 {
		t.Errorf("counted %+v", a)
	}
}

func TestCountBeforeListen(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	if err := l.Conn.Send(control.Count{}); err != nil {
		t.Fatal(err)
	}
	if m, err := next(t, l.Conn); err == nil {
		t.Errorf("answered %+v", m)
	}
	kit.Eventually(t, func() bool { return strings.Contains(s.log.String(), "count before listen") })
}

// answer sends a message and returns what the target says to it.
func answer[M control.Message](t *testing.T, l *wire.Link, m control.Message) M {
	t.Helper()
	if err := l.Conn.Send(m); err != nil {
		t.Fatal(err)
	}
	got, err := next(t, l.Conn)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := got.(M)
	if !ok {
		t.Fatalf("answered %+v", got)
	}
	return a
}
