package policy

import (
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu/confine"
)

// Command is a command line to start, and what the kernel is to let it do: nil = all that its user may.
type Command struct {
	Name, RunDir string // of the VM, and where its socket, pid file and log are
	Argv         []string
	Memory       int64 // that it asks for, in bytes
	Confinement  *confine.Confinement
}

// Files are the files of one VM in the run directory.
type Files struct{ Socket, PID, Log string }

// FilesOf are those of the VM that is called so.
func FilesOf(runDir, name string) Files {
	base := filepath.Join(runDir, name)
	return Files{Socket: base + ".qmp", PID: base + ".pid", Log: base + ".log"}
}
