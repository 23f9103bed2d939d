package image

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestInitramfs(t *testing.T) {
	b := initramfs([]byte("\x7fELFabc"))
	if len(b)%4 != 0 || bytes.Count(b, []byte("070701")) != 6 {
		t.Errorf("%d bytes with %d members", len(b), bytes.Count(b, []byte("070701")))
	}
	const member = "070701" + "00000005" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000007" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "\x7fELFabc\x00"
	if !bytes.Contains(b, []byte(member)) {
		t.Errorf("init is not in the archive as it must be: %q", b)
	}
	b = initramfs([]byte("\x7fELF"), []byte("first"), []byte("second"))
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
