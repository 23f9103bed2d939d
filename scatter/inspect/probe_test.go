package inspect

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/wire"
)

func TestProbeTargetsRefusesItsConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"interface none0": {Interface: "none0"},
		"group base 10.0": {Interface: "lo", GroupBase: netip.MustParseAddr("10.0.0.1")},
		"hold 11m":        {Interface: "lo", Hold: 11 * time.Minute},
	} {
		if _, err := ProbeTargets(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestProberDoubtsAnswers: a target that answers something else is an error.
func TestProberDoubtsAnswers(t *testing.T) {
	p := &prober{answers: make(chan control.Message, 1)}
	for range 3 {
		p.FromTarget(0, control.Counted{}) // more than one question has
	}
	p.link = silentTarget(t)
	if err := p.ask(t.Context(), control.Ping{}, &p.o.there); err == nil || !strings.Contains(err.Error(), "answered counted") {
		t.Error(err)
	}
}

// silentTarget is a link to a target that answers nothing but the greeting.
func silentTarget(t *testing.T) *wire.Link {
	t.Helper()
	ca := kit.NewAuthority(t)
	conf, err := pki.LoadServer(ca.Host("target"), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", netip.AddrPortFrom(kit.Loopback, 0).String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		c := control.NewConn(raw.(*tls.Conn), "source", time.Minute)
		if _, err := c.Receive(); err == nil && c.Send(control.Welcome{Version: model.ProtocolVersion, Name: "target"}) == nil {
			for err == nil {
				_, err = c.Receive()
			}
		}
	})
	link, err := wire.Open(t.Context(), wire.Dialer{Target: model.TargetAddr{Name: "target", Addr: netip.MustParseAddrPort(l.Addr().String())},
		TLSDir: ca.Host("source"), Evacuation: "00112233445566ff", Sent: new(atomic.Int64)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	return link
}
