// Package families evacuates guests that are unlike the lab's usual ones: memory that is mostly one page, or pages that are almost equal; a
// balloon; memory behind a file, a memfd, two NUMA nodes or a DIMM; a whole Debian with a Redis at work. Its tests, under the build
// tag lab, hold each family to the same promises: hardly more bytes than are distinct, bounded memory, every byte right, and each
// guest in exactly one place.
package families
