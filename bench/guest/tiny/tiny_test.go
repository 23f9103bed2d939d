package tiny

import (
	"debug/elf"
	"os"
	"testing"
)

// What QEMU wants of a multiboot kernel: a 32-bit program at 1 MiB whose header is in the first 8 KiB of the file.
func TestBuild(t *testing.T) {
	for range 2 {
		path, err := Build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Class != elf.ELFCLASS32 || len(f.Progs) != 1 || f.Progs[0].Paddr != 1<<20 || f.Progs[0].Off >= 8<<10 {
			t.Errorf("%v, segments %+v", f.Class, f.Progs)
		}
		if st, err := os.Stat(path); err != nil || st.Size() > 64<<10 {
			t.Errorf("%v, %v", st, err)
		}
	}
}
