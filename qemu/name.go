package qemu

import (
	"path/filepath"
	"strings"
)

// MaxName is the length of the longest VM name, in bytes.
const MaxName = 64

// CheckName tells whether name can be used in the names of files: the error is a *NameError.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || strings.ContainsAny(name[:1], "._-") || strings.Trim(name, nameBytes) != "" {
		return &NameError{Name: name}
	}
	for i := range len(name) {
		if !strings.Contains(nameBytes, name[i:i+1]) {
			return &NameError{Name: name}
		}
	}
	return nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// nameOf is the VM's name: the one that QEMU was given, else the base name of its socket without extension.
func nameOf(guest, socket string) string {
	if guest != "" {
		return guest
	}
	base := filepath.Base(socket)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
