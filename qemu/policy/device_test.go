package policy

import (
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/survey"
)

// TestPolicyAliases: a device may be called as this QEMU calls it. It is judged by its real name.
func TestPolicyAliases(t *testing.T) {
	p := Policy{QEMU: kit.NeedQEMU(t), Programs: new(survey.Programs)}
	for in, want := range map[string]string{
		"-device virtio-serial,id=s":               "-device virtio-serial-pci,id=s",
		"-device id=n,driver=virtio-net":           "-device id=n,driver=virtio-net-pci",
		`-device {"driver":"virtio-rng","id":"r"}`: `-device {"driver":"virtio-rng-pci","id":"r"}`,
		"-device virtio-balloon -device virtio-scsi -device virtio-keyboard -device lsi -device e1000-82540em -device ahci": "-device virtio-balloon-pci " +
			"-device virtio-scsi-pci -device virtio-keyboard-pci -device lsi53c895a -device e1000 -device ich9-ahci",
		"-device virtio-9p,fsdev=f,mount_tag=t": "",
		"-device virtio-input-host,evdev=/x":    "",
		"-device nonesuch":                      "",
	} {
		c, err := p.Command(append([]string{"q", "-nodefaults", "-display", "none"}, strings.Fields(in)...), "vm", "/run/x")
		got := ""
		if err == nil {
			got = strings.Join(c.Argv, " ")
		}
		if (want == "") != (err != nil) || !strings.Contains(got, want) {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
}
