package scatter

import "runtime"

// processors is how many goroutines work at one time where there is much to do. A program that lets the runtime use more threads does that for those
// which wait.
var processors = runtime.GOMAXPROCS(0)
