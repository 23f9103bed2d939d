package qemu

import (
	"crypto/sha256"
	"encoding/hex"
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

// Alias is the name by which a VM is known here: its own, if that can be used in the names of files. Otherwise it is made of it, and
// always the same: what can be used of the name, and 8 digits that tell it from others like it. The own name must not be empty.
func Alias(own string) string {
	if CheckName(own) == nil {
		return own
	}
	return numbered(own, own)
}

// numbered makes a name out of one that cannot be used, or is not alone, and of what makes it different.
func numbered(own, different string) string {
	sum := sha256.Sum256([]byte(different))
	digits := hex.EncodeToString(sum[:4])
	var b strings.Builder
	for i := 0; i < len(own) && b.Len() < MaxName-len(digits)-1; i++ {
		if c := own[i : i+1]; strings.Contains(nameBytes, c) {
			b.WriteString(c)
		} else if !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	readable := strings.Trim(b.String(), "._-")
	if readable == "" {
		readable = "vm"
	}
	return readable + "-" + digits
}

// socketName is the name of a VM that was given none: the base name of its socket without extension.
func socketName(socket string) string {
	base := filepath.Base(socket)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// TellApart gives a VM without a name of its own one that no other VM of this host has: its sockets' names are alike, and their directories
// differ.
func (vm *VM) TellApart() {
	if vm.Own == "" {
		vm.Name = numbered(socketName(vm.Socket), vm.Socket)
	}
}
