package content

import (
	"testing"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

func pageBytes(p *Page) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), Bytes) }

// ratio is how well zstd compresses 64 pages of one kind together.
func ratio(t *testing.T, kind Kind) float64 {
	t.Helper()
	var plain []byte
	for i := range 64 {
		var p Page
		Fill(&p, Name{Kind: kind, Guest: 3, Number: uint64(i)})
		plain = append(plain, pageBytes(&p)...)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return float64(len(plain)) / float64(len(enc.EncodeAll(plain, nil)))
}

func TestCompressibility(t *testing.T) {
	for _, kind := range []Kind{Common, Text} {
		if r := ratio(t, kind); r < 1.9 || r > 2.3 {
			t.Errorf("%v pages compress %.2f:1, want about 2:1", kind, r)
		}
	}
	if r := ratio(t, Similar); r < 20 {
		t.Errorf("similar pages compress %.2f:1, want at least 20:1", r)
	}
	for _, kind := range []Kind{Own, Hot} {
		if r := ratio(t, kind); r > 1.01 {
			t.Errorf("%v pages compress %.2f:1, want not at all", kind, r)
		}
	}
}
