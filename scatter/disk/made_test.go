package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// TestFormatted: what was put into a qcow2 image is in it once it was let go of, in whatever order it came, and its digest is that of a raw one.
func TestFormatted(t *testing.T) {
	const size, region = 9<<20 + 512, 2
	dir := t.TempDir()
	raw, made := filepath.Join(dir, "raw"), filepath.Join(dir, "made")
	s, err := Create(region, []New{{Path: raw, Bytes: size}, {Path: made, Bytes: size, Qcow2: &image.Qcow2{Cluster: 65536, Compat: "1.1", RefcountBits: 16}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Wait()
	defer s.Close()
	if err := s.Format(t.Context()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, (size+model.PageSize-1)/model.PageSize*model.PageSize)
	for round := range 60 {
		var body []byte
		first := rng.IntN(len(want)/model.PageSize - 100)
		for page := first; page < first+100; page += 1 + rng.IntN(2)*rng.IntN(5) {
			data := want[page*model.PageSize:][:model.PageSize]
			copy(data, kit.Noise(model.PageSize))
			data[0] = byte(round)
			if rng.IntN(4) == 0 {
				clear(data)
				data = nil
			}
			for i := range 2 {
				body = control.AppendPage(body, region+i, uint32(page), data)
			}
		}
		if err := s.Take(body); err != nil {
			t.Fatal(err)
		}
	}
	last := len(want)/model.PageSize - 1
	copy(want[last*model.PageSize:], "the end")
	for i := range 2 {
		if err := s.Take(control.AppendPage(nil, region+i, uint32(last), want[last*model.PageSize:])); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []bool{false, true} {
		began := time.Now()
		synced := make(chan error, 1)
		if err := s.Sync(end, func(err error) { synced <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
		t.Logf("safe after %v, let go of: %v", time.Since(began), end)
		if err := s.AwaitLetGo(); (err == nil) != end {
			t.Error(err)
		}
	}
	if err := s.Take(control.AppendPage(nil, region+1, 0, nil)); err == nil {
		t.Error("written after that")
	}
	sums, err := s.Digest(t.Context())
	if err != nil || len(sums) != 2 || !bytes.Equal(sums[0], sums[1]) {
		t.Errorf("digests %x, %v", sums, err)
	}
	for _, args := range [][]string{{"check", made}, {"compare", "-f", "raw", "-F", "qcow2", raw, made}} {
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Errorf("qemu-img %s: %v: %s", args[0], err, out)
		}
	}
	if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want[:size]) {
		t.Errorf("other bytes (%v)", err)
	}
}

// TestFormattedIsGivenUp: a VM that is given up while its image is written leaves nothing that writes it.
func TestFormattedIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made")
	s, err := Create(0, []New{{Path: path, Bytes: 64 << 20, Qcow2: &image.Qcow2{Cluster: 65536, Compat: "1.1", RefcountBits: 16}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Format(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	go func() {
		for page := uint32(0); ; page = (page + 1) % 16384 {
			if err := s.Take(control.AppendPage(nil, 0, page, kit.Noise(model.PageSize))); err != nil {
				written <- err
				return
			}
		}
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.Wait()
	if err := <-written; err == nil {
		t.Error("written on")
	}
	out, _ := exec.Command("pgrep", "-af", "qemu-nbd.*"+filepath.Base(filepath.Dir(path))).Output()
	if strings.TrimSpace(string(out)) != "" {
		t.Errorf("still there: %s", out)
	}
}
