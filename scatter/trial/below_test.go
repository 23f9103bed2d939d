package trial

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

// TestLookBelow: what lies below a disk must be here, with the same bytes, or be the very file that the source has.
func TestLookBelow(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	if err := os.WriteFile(base, []byte("base"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(base, &st); err != nil {
		t.Fatal(err)
	}
	tries := &Trials{policy: qemu.LaunchPolicy{AllowPaths: []string{dir}, Rewrites: []qemu.Rewrite{{From: "/there", To: dir}}}, runDir: t.TempDir()}
	same, other := sha256.Sum256([]byte("base")), sha256.Sum256([]byte("best"))
	for want, b := range map[string]control.Backing{
		"":                   {Path: "/there/base", Bytes: 4, Inode: 1, Sum: same[:]},
		"has other contents": {Path: "/there/base", Bytes: 4, Inode: 1, Sum: other[:]},
		"no backing file":    {Path: "/there/best", Bytes: 4, Sum: same[:]},
		"path outside":       {Path: "/etc/passwd", Bytes: 4, Sum: same[:]},
		"is no regular file": {Path: "/there", Sum: same[:]},
	} {
		err := tries.LookBelow(control.NewDisk{Path: "/there/disk", Backing: []control.Backing{b}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	unsure := control.Backing{Path: "/there/base", Bytes: 4, Inode: 1}
	for travels, inode := range map[bool]uint64{true: 0, false: 9} {
		if err := tries.LookBelow(control.NewDisk{Inode: inode, Backing: []control.Backing{unsure}}); (err != nil) != travels {
			t.Errorf("nothing is known of it, travels %v: %v", travels, err)
		}
	}
	shared := control.Backing{Path: "/there/base", Bytes: 4, Inode: st.Ino, Sum: other[:]}
	if err := tries.LookBelow(control.NewDisk{Backing: []control.Backing{shared}}); err != nil {
		t.Errorf("of storage that hosts share: %v", err)
	}
}
