package source

import (
	"maps"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestPreflightOfAnotherRoot: a QEMU gets its end of the stream as a descriptor, so it may see other files than we.
func TestPreflightOfAnotherRoot(t *testing.T) {
	v, err := DiscoverVM(t.Context(), 0, kit.RealVM(t, "vm", "-m", "16", "-run-with", "chroot="+kit.ShortDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.captureHeader(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestPreflightLeavesSettings: what another manager has set is there again after preflight.
func TestPreflightLeavesSettings(t *testing.T) {
	socket := kit.RealVM(t, "vm", "-m", "16")
	set := func(f func(*qemu.Client) error) {
		t.Helper()
		c, err := qemu.Dial(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := f(c); err != nil {
			t.Fatal(err)
		}
	}
	theirs := map[string]bool{"pause-before-switchover": true, "auto-converge": true, "late-block-activate": true, "validate-uuid": true}
	set(func(c *qemu.Client) error { return c.SetCapabilities(t.Context(), theirs) })
	v, err := DiscoverVM(t.Context(), 0, socket)
	if err != nil {
		t.Fatal(err)
	}
	err = v.Preflight(t.Context(), func() error { return nil })
	v.Close()
	if err != nil {
		t.Error(err)
	}
	set(func(c *qemu.Client) error {
		caps, err := c.Capabilities(t.Context())
		maps.DeleteFunc(caps, func(_ string, on bool) bool { return !on })
		if !maps.Equal(caps, theirs) {
			t.Errorf("after preflight: %v", caps)
		}
		return err
	})
}
