package policy

import (
	"path/filepath"
	"slices"

	"github.com/scatter-vm/scatter/qemu/confine"
)

// confinement is that of a command line that was judged.
func (j *judge) confinement() *confine.Confinement {
	if j.Unconfined {
		return nil
	}
	c := &confine.Confinement{Binary: j.binary, RunDir: j.runDir, Write: j.opened, Ports: j.ports, Network: j.AllowNetwork, Helpers: j.programs}
	for _, p := range j.AllowPaths {
		real, err := resolve(filepath.Clean(p))
		switch {
		case err != nil || !filepath.IsAbs(p):
		case isFirmware(real) || slices.ContainsFunc(firmwareDirs, func(dir string) bool { return below(real, dir) }):
			c.Read = append(c.Read, real) // what the command line names there may be written all the same, if it is no firmware
		default:
			c.Write = append(c.Write, real)
		}
	}
	return c
}
