package qmp

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// found is a real VM, as it is opened.
func found(t *testing.T, args ...string) *Source {
	t.Helper()
	s, proc, err := Open(t.Context(), kit.RealVM(t, "vm", args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); proc.Close() })
	return s
}

func second(_ []string, err error) error { return err }

// on lists the capabilities that are on.
func (s *Source) on(t *testing.T) (names []string) {
	t.Helper()
	caps, err := s.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, on := range caps {
		if on {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestSettingsOfAnotherManager: what another manager has set is switched off while the VM moves where that does not hurt, and put back.
func TestSettingsOfAnotherManager(t *testing.T) {
	v := found(t, "-m", "16")
	theirs := map[string]bool{"pause-before-switchover": true, "auto-converge": true, "late-block-activate": true, "validate-uuid": true}
	if err := v.SetCapabilities(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := second(v.checkMigration(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := v.Ready(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if on := v.on(t); !slices.Equal(on, []string{"events", "late-block-activate", "return-path"}) {
		t.Errorf("while it moves: %v", on)
	}
	if err := v.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if on := v.on(t); !slices.Equal(on, slices.Sorted(maps.Keys(theirs))) {
		t.Errorf("afterwards: %v", on)
	}
}

// TestEverySettingIsKnown: of each capability and parameter that this QEMU has it is known what it does.
func TestEverySettingIsKnown(t *testing.T) {
	v := found(t, "-m", "16")
	caps, err := v.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for c := range caps {
		_, set := setCapability[c]
		_, fit := fitCapabilities[c]
		refused := slices.Contains(refusedCapabilities, c)
		if !set && !fit && !refused {
			t.Errorf("capability %s is in no table", c)
		}
		if why := unfitCapabilities(map[string]bool{c: true}); refused != (len(why) == 1) {
			t.Errorf("capability %s: %v", c, why)
		}
	}
	var all map[string]any
	if err := v.Do(t.Context(), "query-migrate-parameters", nil, &all); err != nil {
		t.Fatal(err)
	}
	for p := range all {
		if _, fit := fitParameters[p]; !fit && p != "tls-creds" && p != "mode" {
			t.Errorf("parameter %s is in no table", p)
		}
	}
	if why := unfitCapabilities(map[string]bool{"x-time-travel": true, "events": true}); len(why) != 1 || !strings.Contains(why[0].Error(), "x-time-travel is on, of which") {
		t.Errorf("got %v", why)
	}
}
