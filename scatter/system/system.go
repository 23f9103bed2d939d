package system

import (
	"io/fs"
	"strconv"
	"strings"
)

// MembershipLimit is where the system says how many groups a socket may join.
const MembershipLimit = "proc/sys/net/ipv4/igmp_max_memberships"

// ReadNumber reads a file of a file system, "/" mostly, that holds one number.
func ReadNumber(root fs.FS, path string) (int, error) {
	b, err := fs.ReadFile(root, path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
