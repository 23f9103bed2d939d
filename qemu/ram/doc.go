// Package ram tells of what blocks a guest's memory consists, and where in the QEMU process each lies, for all versions of QEMU.
package ram
