package source

import (
	"io/fs"
	"math"
	"path"

	"github.com/scatter-vm/scatter/scatter/system"
)

// autoUse is what an automatic rate finds of a link, by measurement: 0.75 to 0.87.
const autoUse = 0.8

// linkSpeed is the speed of a network interface in bytes/s as its driver tells it, 0 if it does not: see
// Documentation/ABI/testing/sysfs-class-net of Linux.
func linkSpeed(root fs.FS, name string) int64 {
	mbit, err := system.ReadNumber(root, path.Join("sys/class/net", name, "speed"))
	if err != nil || mbit <= 0 || mbit > math.MaxInt32 {
		return 0
	}
	return int64(mbit) * 1_000_000 / 8
}
