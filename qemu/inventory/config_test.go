package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/inventory/rewrite"
)

// TestReadConfig: a machine whose options are in files moves like any other, and the target does not need the files.
func TestReadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vm.cfg")
	config := `# as Proxmox has them
[device "ehci"]
  driver = "ich9-usb-ehci1"
  multifunction = "on"
  addr = "1d.7"

[machine]
  type = "pc"
[memory]
size = "48M"
[global]
  driver = "e1000"
  property = "romfile"
  value = ""
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	m := start(t, "-readconfig "+file+" -device virtio-rng-pci")
	argv, err := rewrite.Expand(m.argv, m.PID())
	if err != nil {
		t.Fatal(err)
	}
	want := "-device id=ehci,driver=ich9-usb-ehci1,multifunction=on,addr=1d.7 -machine type=pc -m size=48M " +
		"-global driver=e1000,property=romfile,value= -device virtio-rng-pci"
	if got := strings.Join(argv, " "); !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	m.argv = argv
	if target := m.move(); target.read().Machine != m.read().Machine {
		t.Errorf("the target is a %s", target.read().Machine)
	}
}
