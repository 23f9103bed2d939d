// Command scatter moves the running virtual machines of one host to many hosts at once.
//
// Each command has a file of its own: a constructor with the help text, a struct of options with its flags,
// and a run method. What a command prints on stdout is data, everything else goes to stderr. Exit statuses are in exit.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// gcPercent is how much the heap may grow between two collections, in percent of what lives.
const gcPercent = 25

// spareThreads is how many threads may run beyond those for which there are processors. Who keeps to the rate of a link, or reads datagrams, has a
// thread of its own that sleeps in the kernel. It wakes at once, but would then wait for its turn in the runtime, for up to 10 ms, behind
// goroutines that make or place blocks; so it is the kernel that decides who runs.
const spareThreads = 2

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareThreads)
	}
	// A bug must not look like a usage error, which is what the runtime's own exit status 2 means to scripts.
	debug.SetTraceback("crash")
	// A reader of our output that goes away must not end an evacuation in the middle.
	signal.Ignore(syscall.SIGPIPE)
	// Little garbage is made while VMs move, and memory is dear on a host that is being emptied.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(newApp(os.Stdout, os.Stderr, os.Getenv).Main(context.Background(), os.Args[1:]))
}
