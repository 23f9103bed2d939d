package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool runs a program that must be there, and returns what it says.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// filled is a device with other bytes in every third unit, and zeroes that are allocated in another one.
func filled(units int) *memory {
	m, rng := newMemory(units), rand.NewChaCha8([32]byte{1})
	for i := 0; i < units; i += 3 {
		rng.Read(m.data[i*unit : (i+1)*unit])
		m.held[i] = true
	}
	m.held[1] = true
	return m
}

// TestQEMU: what QEMU's own client writes, zeroes and discards is there afterwards, and what it reads is what is there.
func TestQEMU(t *testing.T) {
	m := filled(64)
	want := m.bytes()
	uri := "nbd+unix:///disk?socket=" + listen(t, m.export("disk"))
	dir := t.TempDir()

	file := filepath.Join(dir, "read")
	tool(t, "qemu-img", "convert", "-O", "raw", uri, file)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read: other bytes (%v)", err)
	}
	var extents []struct {
		Start, Length int
		Data          bool
	}
	if err := json.Unmarshal([]byte(tool(t, "qemu-img", "map", "--output=json", uri)), &extents); err != nil {
		t.Fatal(err)
	}
	if len(extents) != 2*(64/3)+1 || extents[0].Length != 2*unit || !extents[0].Data || extents[1].Data {
		t.Errorf("map: %d extents, %+v ...", len(extents), extents[:2])
	}

	tool(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 4k 200k", "-c", "write -z 8k 4k", "-c", "write -z -u 64k 64k", "-c", "discard 192k 64k",
		"-c", "write -f -P 0x77 1M 1M", "-c", "write -P 0x11 512 512", "-c", "flush", uri)
	fill := func(off, n int, b byte) {
		copy(want[off:off+n], bytes.Repeat([]byte{b}, n))
	}
	fill(4<<10, 200<<10, 0x5a)
	fill(8<<10, 4<<10, 0)
	fill(64<<10, 64<<10, 0)
	fill(192<<10, 64<<10, 0)
	fill(1<<20, 1<<20, 0x77)
	fill(512, 512, 0x11)
	if !bytes.Equal(m.bytes(), want) {
		t.Error("written: other bytes")
	}
	if m.held[1] || m.held[3] || !m.held[2] {
		t.Errorf("holes where none were made, or none where some were: %v", m.held[:4])
	}
	if m.flushes < 2 { // FUA, and FLUSH
		t.Errorf("%d flushes", m.flushes)
	}
}

// TestLibnbd: libnbd's tools see the exports as they are, and copy in both directions over several connections at once.
func TestLibnbd(t *testing.T) {
	m, fixed := filled(64), newMemory(1)
	exports := []Export{m.export("disk"), {Name: "fixed", Size: unit, ReadOnly: true, Device: fixed}}
	socket := listen(t, exports...)
	var info struct {
		Exports []struct {
			Name     string   `json:"export-name"`
			Size     int      `json:"export-size"`
			Contexts []string `json:"contexts"`
			ReadOnly bool     `json:"is_read_only"`
			Flush    bool     `json:"can_flush"`
			Zero     bool     `json:"can_zero"`
			Largest  int      `json:"block_size_maximum"`
		} `json:"exports"`
	}
	if err := json.Unmarshal([]byte(tool(t, "nbdinfo", "--list", "--json", "nbd+unix:///?socket="+socket)), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Exports) != 2 {
		t.Fatalf("%+v", info)
	}
	for i, e := range info.Exports {
		if e.Name != exports[i].Name || e.Size != int(exports[i].Size) || e.ReadOnly != exports[i].ReadOnly || !e.Flush || e.Largest != MaxRequest ||
			len(e.Contexts) != 1 || e.Contexts[0] != baseAllocation {
			t.Errorf("export %d: %+v", i, e)
		}
	}
	uri := "nbd+unix:///disk?socket=" + socket
	totals := tool(t, "nbdinfo", "--map", "--totals", uri)
	if want := fmt.Sprint(23 * unit); !strings.Contains(totals, want) {
		t.Errorf("map: %s, want %s bytes of data", totals, want)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "copy")
	tool(t, "nbdcopy", uri, file)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, m.bytes()) {
		t.Errorf("copied out: other bytes (%v)", err)
	}
	other := newMemory(64)
	tool(t, "nbdcopy", "--flush", file, "nbd+unix:///other?socket="+listen(t, other.export("other")))
	if !bytes.Equal(other.bytes(), m.bytes()) {
		t.Error("copied in: other bytes")
	}
	if other.flushes == 0 {
		t.Error("not flushed")
	}
}
