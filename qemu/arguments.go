package qemu

import "github.com/scatter-vm/scatter/qemu/cmdline"

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
