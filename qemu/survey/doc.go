// Package survey asks QEMU programs what they are: version, machine types, and the names of their devices.
package survey
