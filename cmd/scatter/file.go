package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// outFile becomes a file in one step, or never. It is opened before the work begins, so that a path that cannot be written is found
// out in time. An empty path gives one that writes nothing.
type outFile struct {
	path string
	tmp  *os.File
}

// newOutFile opens the file that flag names.
func newOutFile(flag, path string) (*outFile, error) {
	if path == "" {
		return &outFile{}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, usagef("--%s: %s: not a regular file", flag, path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, usagef("--%s: %w", flag, err)
	}
	return &outFile{path: path, tmp: tmp}, nil
}

// write puts in place what render writes. What it leaves behind, discard takes away.
func (f *outFile) write(render func(io.Writer) error) error {
	if f.tmp == nil {
		return nil
	}
	w := bufio.NewWriter(f.tmp)
	if err := errors.Join(render(w), w.Flush(), f.tmp.Chmod(0o644), f.tmp.Sync()); err != nil {
		return err
	}
	return os.Rename(f.tmp.Name(), f.path)
}

// writeJSON puts v in place, indented.
func (f *outFile) writeJSON(v any) error {
	return f.write(func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
}

// discard removes what is not in place.
func (f *outFile) discard() {
	if f.tmp == nil {
		return
	}
	f.tmp.Close()
	os.Remove(f.tmp.Name())
	f.tmp = nil
}

// readFile hands the file at path, of flag, to read.
func readFile[T any](flag, path string, read func(io.Reader) (T, error)) (out T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return out, usagef("--%s: %w", flag, err)
	}
	defer f.Close()
	if out, err = read(f); err != nil {
		return out, usagef("--%s: %s: %w", flag, path, err)
	}
	return out, nil
}
