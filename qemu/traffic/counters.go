package traffic

import (
	"fmt"
	"strconv"
	"strings"
)

// The columns of a list of network devices, after the name.
const (
	columns        = 16
	receivedColumn = 0
	sentColumn     = 8
)

// countersOf reads what a device has sent and received out of a list like /proc/net/dev.
func countersOf(dev, name string) (Bytes, error) {
	for line := range strings.Lines(dev) {
		colon := strings.LastIndexByte(line, ':') // names may have colons, too
		if colon < 0 || strings.TrimLeft(line[:colon], " ") != name {
			continue
		}
		f := strings.Fields(line[colon+1:])
		if len(f) < columns {
			return Bytes{}, fmt.Errorf("network device %q: %d counters instead of %d", name, len(f), columns)
		}
		received, err := strconv.ParseUint(f[receivedColumn], 10, 64)
		if err != nil {
			return Bytes{}, fmt.Errorf("network device %q: bytes received: %w", name, err)
		}
		sent, err := strconv.ParseUint(f[sentColumn], 10, 64)
		if err != nil {
			return Bytes{}, fmt.Errorf("network device %q: bytes sent: %w", name, err)
		}
		return Bytes{Sent: sent, Received: received}, nil
	}
	return Bytes{}, fmt.Errorf("network device %q: there is none", name)
}
