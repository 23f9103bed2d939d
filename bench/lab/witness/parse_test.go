package witness

import (
	"slices"
	"strings"
	"testing"
)

const blockTable = `              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x000000000a000000 0x000000000a000000 0x00007f1b5be00000  rw
  0000:00:02.0/virtio-net-pci.rom   64 KiB  0x000000000a060000 0x0000000000040000 0x0000000000040000 0x00007f1b65a00000  ro
`

func TestParseBlocks(t *testing.T) {
	got, err := parseBlocks(blockTable)
	want := []RAMBlock{{"pc.ram", 0xa000000, 0x7f1b5be00000}, {"0000:00:02.0/virtio-net-pci.rom", 0x40000, 0x7f1b65a00000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"head\na b c", "head\nram 4 KiB 0 x 0 0 rw"} {
		if got, err := parseBlocks(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

func TestCommandLineOfQEMU(t *testing.T) {
	argv := strings.Fields("/usr/bin/qemu -name guest=vm1,debug-threads=on -qmp unix:/a/vm1.qmp,server=on " +
		"-chardev file,id=s,path=/a/serial -chardev socket,id=m,server=on,path=/a/mon -mon chardev=m")
	if got := guestName(argv); got != "vm1" {
		t.Errorf("name %q", got)
	}
	if got := monitorSockets(argv); !slices.Equal(got, []string{"/a/vm1.qmp", "/a/mon"}) {
		t.Errorf("monitors %q", got)
	}
	for _, other := range [][]string{nil, {"-name"}, {"bash", "-c", "guest=vm1"}} {
		if got := guestName(other); got != "" {
			t.Errorf("%q has the name %q", other, got)
		}
	}
}

func TestCountDifferent(t *testing.T) {
	if n := countDifferent([]byte("abcdef"), []byte("aXcdeX")); n != 2 {
		t.Errorf("%d bytes differ", n)
	}
}
