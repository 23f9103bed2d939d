package scatter

import "runtime"

// processors is how many goroutines work at one time where there is much to do. A program that lets the runtime use more threads does that for those
// which wait.
var processors = runtime.GOMAXPROCS(0)

// processors is how many goroutines of this evacuation work at one time.
func (c *SendConfig) processors() int {
	if c.CPUs > 0 {
		return min(c.CPUs, processors)
	}
	return processors
}
