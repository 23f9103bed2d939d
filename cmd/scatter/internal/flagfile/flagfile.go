// Package flagfile reads and writes the files that flags name.
package flagfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
)

// Out becomes a file in one step, or never. It is opened before the work begins, so that a path that cannot be written is found
// out in time.
type Out struct {
	path string
	tmp  *os.File
}

// Create opens the file at path, of flag; an empty path gives one that writes nothing. A path that cannot be written is a usage.Error.
func Create(flag, path string) (*Out, error) {
	if path == "" {
		return &Out{}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, usage.Errorf("--%s: %s: not a regular file", flag, path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, usage.Errorf("--%s: %w", flag, err)
	}
	return &Out{path: path, tmp: tmp}, nil
}

// Write puts in place what render writes, with mode 0644. If it fails, what was there before stays, and Discard takes away what is left behind.
func (f *Out) Write(render func(io.Writer) error) error {
	if f.tmp == nil {
		return nil
	}
	w := bufio.NewWriter(f.tmp)
	if err := errors.Join(render(w), w.Flush(), f.tmp.Chmod(0o644), f.tmp.Sync()); err != nil {
		return err
	}
	return os.Rename(f.tmp.Name(), f.path)
}

// WriteJSON puts v in place, indented.
func (f *Out) WriteJSON(v any) error {
	return f.Write(func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
}

// Discard removes what is not in place.
func (f *Out) Discard() {
	if f.tmp == nil {
		return
	}
	f.tmp.Close()
	os.Remove(f.tmp.Name())
	f.tmp = nil
}

// Read hands the file at path, of flag, to read. What goes wrong is a usage.Error that names both.
func Read[T any](flag, path string, read func(io.Reader) (T, error)) (out T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return out, usage.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	if out, err = read(f); err != nil {
		return out, usage.Errorf("--%s: %s: %w", flag, path, err)
	}
	return out, nil
}

// MaxTOML bounds a TOML file, in bytes.
const MaxTOML = 1 << 20

// DecodeTOML reads TOML into v; more than MaxTOML bytes are an error.
func DecodeTOML(r io.Reader, v any) (toml.MetaData, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxTOML+1))
	if err != nil {
		return toml.MetaData{}, err
	}
	if len(b) > MaxTOML {
		return toml.MetaData{}, fmt.Errorf("larger than %d bytes", MaxTOML)
	}
	return toml.Decode(string(b), v)
}
