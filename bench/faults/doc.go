// Package faults breaks evacuations on purpose. Its tests, under the build tag lab, run the real program between real
// hosts with real guests (package lab), do harm at a known stage, and then look from outside: every guest must run in
// exactly one place with all its memory right, no QEMU may be left that nobody owns, and what scatter said must be true.
//
//	fleet   a lab with guests, shared by the tests; a test that leaves it in disorder costs the next one a new fleet
//	scene   what one test does on the fleet: receivers, senders, faults; undone at its end
//	deaths  one evacuation of a tiny guest for each process, each action of the core and each way to die or to freeze there
//	tape    a sender's trace, read so that the sender waits between its lines: any step can be held and broken
//
// What holds a sender is its own trace: it writes down each event before it acts on it and each action before it begins it,
// and here that write waits until the test has read the line before. So the tests meet commit, switch-over and the
// like every time, without a hook in the program and without a clock.
package faults
