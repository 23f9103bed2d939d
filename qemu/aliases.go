package qemu

import (
	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/process"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// This file has the names under which others know what sub-packages own.

// MaxName is the length of the longest VM name, in bytes.
const MaxName = vmname.Max

// NameError is a VM name that cannot be used in the names of files.
type NameError = vmname.Error

// CheckName tells whether name can be used in the names of files: the error is a *NameError.
func CheckName(name string) error { return vmname.Check(name) }

// Alias is the name by which a VM is known here: its own, if that can be used in the names of files.
func Alias(own string) string { return vmname.Alias(own) }

// StartTime is when a process began, in clock ticks since boot: it tells a reused pid apart.
func StartTime(pid int) (uint64, error) { return process.StartTime(pid) }

// Confinement is what the kernel lets one QEMU get at.
type Confinement = confine.Confinement

// CanConfine tells whether this kernel can confine a QEMU to its files, and whether to its ports.
func CanConfine() (files, ports bool) { return confine.Possible() }

// Argument is one option of a QEMU command line.
type Argument = cmdline.Argument

// Pair is one key of an option's value.
type Pair = cmdline.Pair

// Arguments splits a command line, without its program, into options.
func Arguments(words []string) []Argument { return cmdline.Arguments(words) }

// ParseKeyval reads key=value,key=value as QEMU does.
func ParseKeyval(s, implied string) ([]Pair, error) { return cmdline.ParseKeyval(s, implied) }

// FormatKeyval is the inverse of ParseKeyval.
func FormatKeyval(pairs []Pair, implied string) string { return cmdline.FormatKeyval(pairs, implied) }

// MemoryOf is the memory that a command line asks its host for, in bytes.
func MemoryOf(argv []string) (int64, error) { return cmdline.MemoryOf(argv) }
