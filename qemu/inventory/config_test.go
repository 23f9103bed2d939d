package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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
	argv, err := Expand(m.argv, m.PID())
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

func TestReadConfigRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"[nonesuch]\n": `group "nonesuch"`, "a = \"b\"\n": "neither", "[device]\nx\n": "line 2", "[device]\ndriver = e1000\n": "neither",
		"[device \"x\"\n": "neither", strings.Repeat("#", maxConfig+1): "larger",
	} {
		file := dir + "/config"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Expand([]string{"qemu", "-readconfig", file}, os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", content, err)
		}
	}
	for _, file := range []string{"/nonexistent", dir, dir + "/fifo"} {
		if _, err := Expand([]string{"qemu", "-readconfig", file}, os.Getpid()); err == nil {
			t.Errorf("%s is read", file)
		}
	}
	options, err := parseConfig(strings.NewReader("[drive \"d0\"]\nfile = \"/a,b\"\nformat=\"raw\"\n"))
	if err != nil || len(options) != 1 || options[0].Value != "id=d0,file=/a,,b,format=raw" {
		t.Errorf("%+v, %v", options, err)
	}
	argv := []string{"qemu", "-m", "16", "disk"}
	if got, err := Expand(argv, 0); err != nil || cmp.Diff(got, argv) != "" {
		t.Errorf("%q, %v", got, err)
	}
}
