package lab

import (
	"bytes"
	"os"
	"path/filepath"
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

func TestStaleNames(t *testing.T) {
	own, err := ownName()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		own + "-1-source":              false,
		own + "9-1-source":             true, // same number, another process
		"scatterlab-4194305-1-1-x":     true,
		"scatterlab-1":                 false,
		"other-4194305-1-1-x":          false,
		"scatterlab-number-1-1-source": false,
	} {
		if got := stale(name); got != want {
			t.Errorf("stale(%q) = %v", name, got)
		}
	}
}

func TestInitramfs(t *testing.T) {
	b := Initramfs([]byte("\x7fELFabc"))
	if len(b)%4 != 0 || bytes.Count(b, []byte("070701")) != 6 {
		t.Errorf("%d bytes with %d members", len(b), bytes.Count(b, []byte("070701")))
	}
	const member = "070701" + "00000005" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000007" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "\x7fELFabc\x00"
	if !bytes.Contains(b, []byte(member)) {
		t.Errorf("init is not in the archive as it must be: %q", b)
	}
	b = Initramfs([]byte("\x7fELF"), []byte("first"), []byte("second"))
	if at := bytes.Index(b, []byte("modules/000.ko\x00\x00\x00\x00first")); at < 0 || at > bytes.Index(b, []byte("modules/001.ko\x00\x00\x00\x00second")) {
		t.Errorf("the modules are not in the archive as they must be: %q", b)
	}
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeInitramfs(path+".cpio", path); err == nil {
		t.Error("a script is taken for a program that needs no others")
	}
}

func TestCountDifferent(t *testing.T) {
	if n := countDifferent([]byte("abcdef"), []byte("aXcdeX")); n != 2 {
		t.Errorf("%d bytes differ", n)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no target":        {},
		"too many targets": {Targets: MaxTargets + 1},
		"negative rate":    {Targets: 1, Rate: -1},
		"no kernel":        {Targets: 1, Kernel: "/nonexistent/vmlinuz"},
	} {
		if err := c.validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
