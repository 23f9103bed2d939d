// Package rewrite makes the command line of a QEMU that is a machine as it is now, out of the one that the machine was started with.
//
// What has not changed is left as it was written. Each subject goes over the whole line: the machine's own options, back ends, devices,
// drives and nodes. What cannot be said on a command line, or must not be interrupted, is a Finding.
package rewrite
