package inventory

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// bar waits until the firmware has given a PCI device its first address, and returns that.
func (m *machine) bar(id string) int64 {
	m.t.Helper()
	address := int64(-1)
	m.await("firmware", func() bool {
		var buses []struct {
			Devices []struct {
				ID      string `json:"qdev_id"`
				Regions []struct {
					Address int64 `json:"address"`
				} `json:"regions"`
			} `json:"devices"`
		}
		if err := m.Do(m.t.Context(), "query-pci", nil, &buses); err != nil {
			m.t.Fatal(err)
		}
		for _, d := range buses[0].Devices {
			if d.ID == id && len(d.Regions) > 0 {
				address = d.Regions[0].Address
			}
		}
		return address > 0
	})
	return address
}

// number is what the guest would read: the last word of what the monitor shows.
func (m *machine) number(line string) uint64 {
	m.t.Helper()
	f := strings.Fields(m.human(line))
	n, err := strconv.ParseUint(f[len(f)-1], 0, 64)
	if err != nil {
		m.t.Fatalf("%s: %q", line, f)
	}
	return n
}

// What the guest sees of a link that was cut, and of memory that it is to give back, is in the devices' own state: it is
// the same on the target without a word on its command line.
func TestGuestSeesTheSame(t *testing.T) {
	m := start(t, "-M pc -m 64 -netdev user,id=n0 -device e1000,id=cut,netdev=n0 -device e1000,id=whole -netdev user,id=n2 -device virtio-net-pci,id=vcut,netdev=n2 -device virtio-net-pci,id=vwhole -device virtio-balloon-pci,id=b")
	read := func(m *machine) string {
		status := func(id string) uint64 { return m.number(fmt.Sprintf("xp /1wx %#x", m.bar(id)+8)) & 2 }
		port := func(id string, size int) uint64 { return m.number(fmt.Sprintf("i /%d %#x", size, m.bar(id)+26)) & 1 }
		return fmt.Sprint("links ", status("cut"), status("whole"), port("vcut", 2), port("vwhole", 2), " balloon ", m.number(fmt.Sprintf("i /4 %#x", m.bar("b")+20)))
	}
	m.bar("b")
	m.do("stop", nil)
	m.do("set_link", args{"name": "cut", "up": false})
	m.do("set_link", args{"name": "n2", "up": false})
	m.do("balloon", args{"value": 32 << 20})
	if got, want := read(m), "links 0 2 0 1 balloon 8192"; got != want {
		t.Fatalf("the source has %s, want %s", got, want)
	}
	if got, want := read(m.move()), read(m); got != want {
		t.Errorf("the target has %s, want %s", got, want)
	}
}
