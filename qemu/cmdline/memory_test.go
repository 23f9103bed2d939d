package cmdline

import (
	"strings"
	"testing"
)

func TestMemoryOf(t *testing.T) {
	for in, want := range map[string]int64{
		"":                             128 << 20,
		"-m 512":                       512 << 20,
		"-m 4G":                        4 << 30,
		"-m 1.5g":                      3 << 29,
		"-m size=2G,slots=4,maxmem=1T": 2 << 30,
		"-m 0x40":                      64 << 20,
		"-m 512 -m 1024":               1 << 30,
		"-m 1G -object memory-backend-ram,id=m,size=1G -machine q35,memory-backend=m":                                                                             1 << 30,
		"-m 1G -object memory-backend-ram,id=d,size=512M -device pc-dimm,memdev=d":                                                                                3 << 29,
		"-m 2G -object memory-backend-file,id=a,size=1G,mem-path=/x -object memory-backend-file,id=b,size=1G,mem-path=/y -numa node,memdev=a -numa node,memdev=b": 2 << 30,
		`-m 1G -object {"qom-type":"memory-backend-memfd","id":"v","size":8589934592} -device virtio-mem-pci,memdev=v`:                                            9 << 30,
		"-object iothread,id=i -m 16": 16 << 20,
	} {
		if got, err := MemoryOf(append([]string{"qemu"}, strings.Fields(in)...)); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"-m x", "-m -1", "-m NaN", "-m 8E", "-m 1e300", "-object memory-backend-ram,id=a,size=", "-m 1P -object memory-backend-ram,id=a,size=1P"} {
		if got, err := MemoryOf(append([]string{"qemu"}, strings.Fields(in)...)); err == nil {
			t.Errorf("%s: %d", in, got)
		}
	}
	if _, err := MemoryOf(nil); err != nil {
		t.Error(err)
	}
}
