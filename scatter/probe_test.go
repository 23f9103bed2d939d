package scatter

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/inspect"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
)

// TestProbeTargets probes a real target over the loopback interface, which floods; and one that is not there.
func TestProbeTargets(t *testing.T) {
	s := sitekit.OpenOutpost(t, nil, "target", nil)
	gone := TargetAddr{Name: "gone", Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	found, err := inspect.ProbeTargets(t.Context(), CheckConfig{Interface: "lo", TLSDir: s.TLSDir, Targets: []TargetAddr{gone, s.Target}, Hold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f := found[0]; f.Host != gone.String() || f.Check != "control connection" || f.Level != inspect.LevelError || !strings.Contains(f.Remedy, "scatter recv") {
		t.Errorf("of a target that is not there: %+v", f)
	}
	level := map[string]string{"control connection": inspect.LevelOK, "sockets": inspect.LevelOK, "datagrams": inspect.LevelOK, "MTU": inspect.LevelOK, "multicast": inspect.LevelOK, "querier": inspect.LevelOK,
		"flooding": inspect.LevelWarning}
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
