// Package cache knows where bench/setup.sh keeps what it has fetched and made.
package cache

import (
	"errors"
	"os"
	"path/filepath"
)

// Dir returns the directory where bench/setup.sh keeps what guests boot.
func Dir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "scatter-lab"), nil
}

// ErrNoOldQEMU is why there is no old QEMU.
var ErrNoOldQEMU = errors.New("no QEMU 7.2 here: 'bench/setup.sh qemu-7.2' fetches it where apt knows Debian 12")

// OldQEMU returns the QEMU 7.2 that bench/setup.sh keeps beside the installed one.
func OldQEMU() (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "qemu-7.2/usr/bin/qemu-system-x86_64")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", ErrNoOldQEMU
	}
	return path, err
}
