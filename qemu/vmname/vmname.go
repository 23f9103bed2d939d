// Package vmname makes names of VMs that can be used in the names of files, out of what operators and QEMU call them.
package vmname

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// Max is the length of the longest VM name, in bytes.
const Max = 64

// Check tells whether name can be used in the names of files: the error is a *Error.
func Check(name string) error {
	if name == "" || len(name) > Max || strings.ContainsAny(name[:1], "._-") || strings.Trim(name, allowed) != "" {
		return &Error{Name: name}
	}
	for i := range len(name) {
		if !strings.Contains(allowed, name[i:i+1]) {
			return &Error{Name: name}
		}
	}
	return nil
}

const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Alias is the name by which a VM is known here: its own, if that can be used in the names of files. Otherwise it is made of it, and
// always the same: what can be used of the name, and 8 digits that tell it from others like it. The own name must not be empty.
func Alias(own string) string {
	if Check(own) == nil {
		return own
	}
	return Numbered(own, own)
}

// Numbered makes a name out of one that cannot be used, or is not alone, and of what makes it different.
func Numbered(own, different string) string {
	sum := sha256.Sum256([]byte(different))
	digits := hex.EncodeToString(sum[:4])
	var b strings.Builder
	for i := 0; i < len(own) && b.Len() < Max-len(digits)-1; i++ {
		if c := own[i : i+1]; strings.Contains(allowed, c) {
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

// OfSocket is the name of a VM that was given none: the base name of its socket without extension.
func OfSocket(socket string) string {
	base := filepath.Base(socket)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// Error is a VM name that cannot be used in the names of files.
type Error struct{ Name string }

func (e *Error) Error() string {
	return fmt.Sprintf("vm name %.80q: must be 1 to %d of A-Z a-z 0-9 . _ - and begin with a letter or a digit", e.Name, Max)
}
