package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/scatter-vm/scatter/scatter"
)

// reportFile becomes the report in one step, or never. It is opened before anything moves, so that
// a path that cannot be written is found out in time. An empty path gives one that writes nothing.
type reportFile struct {
	path string
	tmp  *os.File
}

func newReportFile(path string) (*reportFile, error) {
	if path == "" {
		return &reportFile{}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New(path + ": not a regular file")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &reportFile{path: path, tmp: tmp}, nil
}

// write puts the report in place. What it leaves behind, discard takes away.
func (f *reportFile) write(r *scatter.Report) error {
	if f.tmp == nil {
		return nil
	}
	e := json.NewEncoder(f.tmp)
	e.SetIndent("", "  ")
	if err := errors.Join(e.Encode(r), f.tmp.Chmod(0o644), f.tmp.Sync()); err != nil {
		return err
	}
	return os.Rename(f.tmp.Name(), f.path)
}

// discard removes what is not in place.
func (f *reportFile) discard() {
	if f.tmp == nil {
		return
	}
	f.tmp.Close()
	os.Remove(f.tmp.Name())
	f.tmp = nil
}
