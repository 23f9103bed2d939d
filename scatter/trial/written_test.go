package trial

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

// A copy of a disk is not the disk, whatever its name. What is not opened, or not there, is not judged.
func TestSameFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"disk", "copy"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("the same"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(dir+"/disk", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(dir+"/disk", &st); err != nil {
		t.Fatal(err)
	}
	policy := qemu.LaunchPolicy{Rewrites: []qemu.Rewrite{{From: "/there", To: dir}}}
	command := []string{"qemu", "-drive", "file=" + dir + "/disk", "-drive", "file=" + dir + "/copy", "-drive", "file=" + dir + "/link,format=raw",
		"-drive", "file=" + dir + "/gone"}
	for path, same := range map[string]bool{
		"/there/disk": true, "/there/link": true, "/there/copy": false, "/there/gone": true, "/etc/passwd": true, dir: true,
	} {
		err := sameFiles(policy.RewriteDisk, command, []control.File{{Path: path, Inode: st.Ino}})
		if (err == nil) != same || err != nil && !strings.Contains(err.Error(), dir+"/copy") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
