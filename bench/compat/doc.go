// Package compat holds what docs/compatibility.md says, as rows that are tests: each device, option, state and operation of a VM, and
// whether scatter moves such a VM or refuses it before anything moves, and with which words.
//
// A Row is data: options of the source's QEMU, commands that are given to its monitor after the start, what the targets lack, and the
// verdict. The lab test starts a real QEMU for each row, without an operating system in it, has the real scatter plan and send it, and
// looks at both ends from outside. WriteTable makes the document from the same rows, and a test fails when the document says anything else;
//
//	go test ./bench/compat -update
//
// writes it anew. Nothing here knows scatter but by its command line.
package compat
