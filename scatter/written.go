package scatter

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/scatter/control"
)

// sameFiles makes sure that a VM would go on to write to the files that it writes to on the source, and not to others that have their
// names here: a copy, or what an earlier VM has left. File systems that hosts share give a file one inode on all of them. Only files that
// the command line has opened are looked at, by their names here; of one that is not there QEMU tells.
func sameFiles(rewrite func(string) string, command []string, files []control.File) error {
	for _, f := range files {
		name := rewrite(f.Path)
		if !slices.ContainsFunc(command, func(arg string) bool { return strings.Contains(arg, name) }) {
			continue
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino != f.Inode {
			return fmt.Errorf("disk %.256s is another file here than on the source (its inode is %d, there %d)", name, st.Ino, f.Inode)
		}
	}
	return nil
}
