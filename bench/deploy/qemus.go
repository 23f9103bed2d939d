package deploy

import (
	"os"
	"path/filepath"
)

// FindQEMUs writes a program that lists the QEMUs of the host on which its caller runs, as pgrep would on a machine of its own: hosts of a lab
// share their processes, and have networks of their own.
func FindQEMUs(dir string) (program string, err error) {
	program = filepath.Join(dir, "find-qemus")
	const text = "#!/bin/sh\nexec pgrep --ns $PPID --nslist net --list-full --exact 'qemu-system-.*'\n"
	return program, os.WriteFile(program, []byte(text), 0o755)
}
