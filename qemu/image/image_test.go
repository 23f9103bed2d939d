package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/nbd"
)

// plain is how qemu-img makes images that nobody says more of.
var plain = Qcow2{Cluster: 64 << 10, Compat: "1.1", RefcountBits: 16}

func create(t *testing.T, bytes int64, q Qcow2) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "a.qcow2"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := Create(t.Context(), f, bytes, q); err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return f
}

func qemuImg(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestCreate: an image is made as it is said, in the very file that is there.
func TestCreate(t *testing.T) {
	for _, q := range []Qcow2{plain, {4096, "0.10", false, 16, false, ""}, {2 << 20, "1.1", true, 64, false, "zstd"}, {128 << 10, "1.1", false, 1, true, "zlib"}} {
		f := create(t, 10<<20+512, q)
		var info struct {
			Size    int64 `json:"virtual-size"`
			Cluster int   `json:"cluster-size"`
			Data    struct {
				Data struct {
					Compat      string `json:"compat"`
					Lazy        bool   `json:"lazy-refcounts"`
					Bits        int    `json:"refcount-bits"`
					Extended    bool   `json:"extended-l2"`
					Compression string `json:"compression-type"`
				}
			} `json:"format-specific"`
		}
		if err := json.Unmarshal(qemuImg(t, "info", "--output=json", f.Name()), &info); err != nil {
			t.Fatal(err)
		}
		d := info.Data.Data
		got := Qcow2{info.Cluster, d.Compat, d.Lazy, d.Bits, d.Extended, d.Compression}
		if q.Compression == "" {
			q.Compression = "zlib"
		}
		if info.Size != 10<<20+512 || got != q {
			t.Errorf("%d bytes, %+v, want %+v", info.Size, got, q)
		}
	}
	for _, bad := range []Qcow2{{}, {65536, "1.1,backing_file=/etc/passwd", false, 16, false, ""}, {65537, "1.1", false, 16, false, ""}, {1 << 30, "1.1", false, 16, false, ""},
		{65536, "1.1", false, 128, false, ""}, {65536, "1.1", false, -1, false, ""}, {65536, "1.1", false, 16, false, "x,y"}} {
		if err := Create(t.Context(), nil, 1<<20, bad); err == nil {
			t.Errorf("%+v taken", bad)
		}
	}
}

// TestServer: what is written is in the image once the server has ended in good order, and is read by another one; one that is killed says nothing more.
func TestServer(t *testing.T) {
	f := create(t, 10<<20+512, plain)
	s, err := Open(t.Context(), f, false)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, s.Size)
	copy(want[300<<10:], bytes.Repeat([]byte("scatter"), 100000))
	copy(want[10<<20:], bytes.Repeat([]byte{7}, 512))
	for _, off := range []uint64{300 << 10, 10 << 20} {
		if err := s.Write(t.Context(), want[off:min(off+1<<20, s.Size)], off); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", f.Name())
	if s, err = Open(t.Context(), f, true); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, s.Size)
	if err := s.Read(t.Context(), got, 0); err != nil || !bytes.Equal(got, want) || !s.ReadOnly || !s.Tells("base:allocation") {
		t.Errorf("other bytes, or may be written: %v", err)
	}
	if err := s.Finish(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err = Open(t.Context(), f, false); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Wait()
	if err := s.Finish(t.Context()); err == nil {
		t.Error("ended in good order")
	}
	if _, err := s.Extents(t.Context(), 0, 512); err == nil || errors.As(err, new(*nbd.Error)) {
		t.Error(err)
	}
}

// TestServerRefuses: why an image cannot be opened is told in the program's words.
func TestServerRefuses(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), f, false); err == nil || !strings.Contains(err.Error(), "not in qcow2 format") {
		t.Error(err)
	}
	if files, _ := confine.Possible(); !files {
		t.Fatal("this kernel has no Landlock for files")
	}
	mine := create(t, 1<<20, plain)
	qemuImg(t, "rebase", "-u", "-b", "/etc/hostname", "-F", "raw", mine.Name())
	if _, err := Open(t.Context(), mine, false); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("an image below that was not named is read: %v", err)
	}
}
