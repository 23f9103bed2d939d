package dedup

import (
	"math/rand/v2"
	"testing"
)

// resident is a Reader over one buffer that stands for every region.
type resident struct{ data []byte }

func (r resident) ReadPages(_ int, first uint32, n int, dst []byte) error {
	copy(dst, r.data[int(first)*PageSize:(int(first)+n)*PageSize])
	return nil
}

func (r resident) Populated(_ int, yield func(first, n uint32) error) error {
	return yield(0, uint32(len(r.data)/PageSize))
}

func BenchmarkScanOneCore(b *testing.B) {
	const size = 256 << 20
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	if _, err := rng.Read(data); err != nil {
		b.Fatal(err)
	}
	l := fleet(b, 1, size/PageSize)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := Scan(b.Context(), resident{data}, l, 3, ScanOptions{Workers: Workers{Count: 1}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIndex(b *testing.B) {
	const vms, pages = 64, 1 << 18
	for name, value := range map[string]func(p Page) uint64{
		"unique":   func(p Page) uint64 { return uint64(p) + 1 },
		"families": familyPages,
		"pairs":    func(p Page) uint64 { return uint64(p%(vms/2*pages)) + 1 },
	} {
		b.Run(name, func(b *testing.B) {
			l := fleet(b, vms, pages)
			n := 0
			for b.Loop() {
				b.StopTimer()
				first, second := syntheticLook(l, value), syntheticLook(l, value)
				b.StartTimer()
				if _, err := NewIndex(first, second, l, Workers{}); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n)*float64(l.Pages())/b.Elapsed().Seconds()/1e6, "Mpages/s")
		})
	}
}

// familyPages: of each VM 30 % zero, 5 % equal within the VM, 25 % common to a family of 8, 40 % unique.
func familyPages(p Page) uint64 {
	const pages = 1 << 18
	vm, i := uint64(p)/pages, uint64(p)%pages
	switch k := i % 20; {
	case k < 6:
		return 0
	case k < 7:
		return vm<<32 + i%1000 + 1
	case k < 12:
		return 1<<60 + vm/8<<32 + i
	default:
		return 1<<61 + vm<<32 + i
	}
}
