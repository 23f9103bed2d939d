package cmdline

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	defaultMemory = 128 << 20 // bytes of a machine that is not told
	maxMemory     = 1 << 50   // bytes that one VM may ask for
)

// MemoryOf is the memory that a command line asks its host for, in bytes: that of -m, or of the back ends that stand for it, and that of all
// other back ends. The guest may have less of it now.
func MemoryOf(argv []string) (int64, error) {
	var sum asked
	base := float64(defaultMemory)
	for _, a := range Arguments(argv[min(1, len(argv)):]) {
		switch a.Name {
		case "m":
			if size := KeyOf(a.Value, "size", "size"); size != "" {
				base = sum.parse(size, 1<<20)
			}
		case "object":
			if strings.HasPrefix(KeyOf(a.Value, "qom-type", "qom-type"), "memory-backend-") {
				sum.add(sum.parse(KeyOf(a.Value, "qom-type", "size"), 1))
			}
		case "machine", "M":
			sum.backed = sum.backed || KeyOf(a.Value, "type", "memory-backend") != ""
		case "numa":
			sum.backed = sum.backed || KeyOf(a.Value, "type", "memdev") != ""
		}
	}
	if !sum.backed {
		sum.add(base)
	}
	return int64(sum.bytes), sum.err
}

// asked adds up memory.
type asked struct {
	bytes  float64
	backed bool // back ends stand for the memory of -m
	err    error
}

// parse reads a size as QEMU writes it (qemu_strtosz), of which a number alone counts units.
func (a *asked) parse(s string, unit float64) float64 {
	number := strings.TrimRight(s, "bBkKmMgGtTpPeE")
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		number = "0x" + hex + "p0"
	} else if suffix := strings.ToUpper(s[len(number):]); suffix != "" {
		i := strings.Index("BKMGTPE", suffix)
		unit = float64(uint64(1) << (10 * max(i, 0)))
		if i < 0 || len(suffix) > 1 {
			number = ""
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) {
		a.err = fmt.Errorf("memory of %.40q: not a size", s)
		return 0
	}
	return n * unit
}

func (a *asked) add(bytes float64) {
	if a.bytes += bytes; a.bytes > maxMemory {
		a.err = fmt.Errorf("memory of %.0f bytes: more than any host has", a.bytes)
	}
}
