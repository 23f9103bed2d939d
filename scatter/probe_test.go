package scatter

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
)

// TestProbeTargets probes a real target over the loopback interface, which floods; and one that is not there.
func TestProbeTargets(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	gone := TargetAddr{Name: "gone", Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	found, err := ProbeTargets(t.Context(), CheckConfig{Interface: "lo", TLSDir: s.tlsDir, Targets: []TargetAddr{gone, s.target}, Hold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f := found[0]; f.Host != gone.String() || f.Check != "control connection" || f.Level != LevelError || !strings.Contains(f.Remedy, "scatter recv") {
		t.Errorf("of a target that is not there: %+v", f)
	}
	level := map[string]string{"control connection": LevelOK, "sockets": LevelOK, "datagrams": LevelOK, "MTU": LevelOK, "multicast": LevelOK, "querier": LevelOK,
		"flooding": LevelWarning}
	if os.Getuid() != 0 {
		delete(level, "sockets") // as the system has it
	}
	for _, f := range found[1:] {
		if want, ok := level[f.Check]; f.Host != "target" || ok && f.Level != want {
			t.Errorf("got %+v, want %s", f, want)
		}
		delete(level, f.Check)
	}
	if len(level) > 0 {
		t.Errorf("nothing about %v in %+v", level, found)
	}
}

func TestProbeTargetsRefusesItsConfig(t *testing.T) {
	for want, c := range map[string]CheckConfig{
		"interface none0": {Interface: "none0"},
		"group base 10.0": {Interface: "lo", GroupBase: netip.MustParseAddr("10.0.0.1")},
		"hold 11m":        {Interface: "lo", Hold: 11 * time.Minute},
	} {
		if _, err := ProbeTargets(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestListenIsRefused: what no honest source asks for opens no socket, and the session goes on.
func TestListenIsRefused(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	good := control.Listen{Key: make([]byte, 32), Source: loopback, AnySource: netip.MustParseAddr("239.77.8.1"), SourceSpecific: netip.MustParseAddr("239.77.8.2"),
		Port: DefaultGroupPort, Seconds: 5}
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
	if err := l.conn.Send(control.Count{}); err != nil {
		t.Fatal(err)
	}
	if m, err := next(t, l.conn); err == nil {
		t.Errorf("answered %+v", m)
	}
	eventually(t, func() bool { return strings.Contains(s.log.String(), "count before listen") })
}

// answer sends a message and returns what the target says to it.
func answer[M control.Message](t *testing.T, l *link, m control.Message) M {
	t.Helper()
	if err := l.conn.Send(m); err != nil {
		t.Fatal(err)
	}
	got, err := next(t, l.conn)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := got.(M)
	if !ok {
		t.Fatalf("answered %+v", got)
	}
	return a
}

// TestProberDoubtsAnswers: a target that answers something else is an error.
func TestProberDoubtsAnswers(t *testing.T) {
	p := &prober{answers: make(chan control.Message, 1)}
	for range 3 {
		p.fromTarget(0, control.Counted{}) // more than one question has
	}
	s := openSite(t, nil, "target", nil)
	p.link = s.open()
	if err := p.ask(t.Context(), control.Ping{}, &p.o.there); err == nil || !strings.Contains(err.Error(), "answered counted") {
		t.Error(err)
	}
}
