package source

import (
	"io/fs"
	"math"
	"os"
	"path"

	"github.com/scatter-vm/scatter/scatter/pki"
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

// ExpectedRate is what a plan counts on, in bytes/s: the given rate, else what an automatic one will find on the link beside what guests send; 0 = not known.
func (e *Party) ExpectedRate() int64 { return e.rateBeside(e.guestsSend()) }

// Turns is how many VMs converge at one time.
func (e *Party) Turns() int { return max(1, min(e.Cfg.Parallel, len(e.VMs))) }

// RateOfOne is the present rate of each of these, in bytes/s.
func (e *Party) RateOfOne() int64 { return e.Rate() / int64(e.Turns()) }

// rateBeside is what a plan counts on, in bytes/s, beside so much that guests send; 0 = not known.
func (e *Party) rateBeside(guests float64) int64 {
	link := e.linkRate()
	if link == 0 {
		return e.Cfg.Rate
	}
	left := int64(max(leastLeft*float64(link), float64(link)-guests))
	if e.Cfg.Rate > 0 {
		return min(e.Cfg.Rate, left)
	}
	return int64(autoUse * float64(left))
}

// leastLeft is the part of a link that the evacuation gets, whatever guests send.
const leastLeft = 0.25

// linkRate is what the source's link carries, in bytes/s: as the operator says of this host, else as its driver does; 0 = not known.
func (e *Party) linkRate() int64 {
	for _, name := range pki.OwnNames(e.Cfg.TLSDir) {
		if bps := e.Cfg.Rules.Hosts[name].LinkBPS; bps > 0 {
			return bps / 8
		}
	}
	return linkSpeed(os.DirFS("/"), e.Cfg.Interface)
}
