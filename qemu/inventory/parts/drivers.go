package parts

import "strings"

var localDrivers = set("file host_device host_cdrom")

func set(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// IsLocal tells whether a driver of nodes is that of a file or a device of the host.
func IsLocal(driver string) bool { return localDrivers[driver] }
