package parts

import "strings"

// localDrivers are those of nodes that are the access to a file or a device of the host.
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
