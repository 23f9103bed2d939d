package qmp

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestDisksThatTravel: of each disk that a VM writes to it is known whether it can be read beside QEMU and be mirrored, and why not.
func TestDisksThatTravel(t *testing.T) {
	dir := t.TempDir()
	raw, qcow := filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.qcow2")
	kit.WriteFile(t, raw, make([]byte, 1<<20))
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", qcow, "1M").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	disk := func(nodes ...string) (args []string) {
		for _, n := range nodes {
			args = append(args, "-blockdev", n)
		}
		return append(args, "-device", "virtio-blk-pci,drive=top")
	}
	file := "driver=file,node-name=below,filename=" + raw
	for name, c := range map[string]struct {
		args  []string
		stays string // "-": there is none
	}{
		"raw":            {disk(file, "driver=raw,node-name=top,file=below"), ""},
		"-drive, named":  {kit.Drive(raw), ""},
		"-drive":         {[]string{"-drive", "file=" + raw + ",format=raw,if=virtio"}, ""},
		"qcow2":          {disk("driver=file,node-name=below,filename="+qcow, "driver=qcow2,node-name=top,file=below"), ""},
		"qcow2, -drive":  {[]string{"-drive", "file=" + qcow + ",format=qcow2,if=virtio"}, ""},
		"a part of it":   {disk(file, "driver=raw,node-name=top,file=below,offset=4096,size=8192"), "a part of its file"},
		"no format":      {disk("driver=file,node-name=top,filename=" + raw), "its format is file"},
		"no file":        {disk("driver=null-co,node-name=below,size=1048576", "driver=raw,node-name=top,file=below"), "no regular file"},
		"throttled":      {disk(file, "driver=raw,node-name=mid,file=below", "driver=copy-on-read,node-name=top,file=mid"), "its format is copy-on-read"},
		"only read":      {disk(file+",read-only=on", "driver=raw,node-name=top,file=below,read-only=on"), "-"},
		"without device": {[]string{"-blockdev", file, "-blockdev", "driver=raw,node-name=top,file=below"}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := found(t, append([]string{"-m", "16"}, c.args...)...).Examine(t.Context())
			if err != nil {
				t.Log(err)
			}
			switch {
			case c.stays == "-" && len(d.Disks) == 0:
			case len(d.Disks) != 1:
				t.Errorf("%+v", d.Disks)
			case (c.stays == "") != (d.Disks[0].Stays == "") || !strings.Contains(d.Disks[0].Stays, c.stays):
				t.Errorf("%q, want %q", d.Disks[0].Stays, c.stays)
			case c.stays == "" && (d.Disks[0].File != raw && d.Disks[0].Qcow2 == nil || d.Disks[0].Bytes != 1<<20 || d.Disks[0].Inode == 0):
				t.Errorf("%+v", d.Disks[0])
			}
		})
	}
}
