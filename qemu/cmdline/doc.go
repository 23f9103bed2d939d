// Package cmdline reads and writes command lines of QEMU, as its own parsers do: options, and the keys of their values.
//
//	Arguments               splits a command line into options; Words joins one again
//	ParseKeyval, Pairs      a value written as key=value,key=value
//	ParseTree, Tree         a value written as JSON
//	MemoryOf                what a command line asks its host for
//
// What options mean, and whether they may be given, others know.
package cmdline
