// Package tiny builds the smallest lab guest: a multiboot program in C that needs no operating system. It checks its memory and
// speaks as package guest does, takes the same parameters, is ready a tenth of a second after QEMU and runs in 8 MiB, so that dozens
// of such guests fit where one Linux does. It needs neither paging nor 64-bit mode.
package tiny

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

//go:embed program
var sources embed.FS

// flags make gcc build 32-bit code that stands alone, for a processor without vectors.
const flags = "-m32 -march=i686 -O2 -Wall -Wextra -Werror -ffreestanding -nostdlib -static -fno-pic -no-pie -fno-stack-protector " +
	"-fcf-protection=none -fno-asynchronous-unwind-tables -mno-sse -mno-mmx -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-T,tiny.ld"

// built is the program, once it is built; the labs of one process share it.
var built struct {
	mu      sync.Mutex // guards program
	program []byte
}

// Build puts the program into dir, and returns the file for QEMU's -kernel. The first call builds it with gcc.
func Build(ctx context.Context, dir string) (string, error) {
	built.mu.Lock()
	defer built.mu.Unlock()
	path := filepath.Join(dir, "tiny")
	if built.program == nil {
		if err := compile(ctx, dir); err != nil {
			return "", fmt.Errorf("tiny guest: %w", err)
		}
		program, err := os.ReadFile(path)
		built.program = program
		return path, err
	}
	return path, os.WriteFile(path, built.program, 0o755)
}

// compile builds the program in dir.
func compile(ctx context.Context, dir string) error {
	for _, name := range []string{"tiny.c", "tiny.ld"} {
		b, err := sources.ReadFile("program/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "gcc", append(strings.Fields(flags), "-o", "tiny", "tiny.c")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	return nil
}
