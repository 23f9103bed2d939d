package inspect

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/model"
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
	p.link = sitekit.OpenOutpost(t, nil, "target", nil).Link()
	if err := p.ask(t.Context(), control.Ping{}, &p.o.there); err == nil || !strings.Contains(err.Error(), "answered counted") {
		t.Error(err)
	}
}

// TestProbeTargets probes a real target over the loopback interface, which floods; and one that is not there.
func TestProbeTargets(t *testing.T) {
	s := sitekit.OpenOutpost(t, nil, "target", nil)
	gone := model.TargetAddr{Name: "gone", Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	found, err := ProbeTargets(t.Context(), Config{Interface: "lo", TLSDir: s.TLSDir, Targets: []model.TargetAddr{gone, s.Target}, Hold: 1})
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
