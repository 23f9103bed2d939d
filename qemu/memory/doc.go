// Package memory reads and writes the RAM of a guest from outside, without QEMU's help, and tells which of it was never touched.
//
// While the VM runs, what it reads is a hint: QEMU's migration stream is the truth.
package memory
