// Package tried keeps the table of hostile inputs in docs/security.md true: each test that tries some says how many, and fails where the
// document says something else. With SCATTER_UPDATE_DOCS=1 it corrects the document instead.
package tried

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const update = "SCATTER_UPDATE_DOCS"

// Inputs says that a test has tried n inputs on a surface, which has a row of its own in the document.
func Inputs(t testing.TB, surface string, n int) {
	t.Helper()
	path, err := document()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.TrimSpace(cells[1]) != surface {
			continue
		}
		if strings.TrimSpace(cells[2]) == strconv.Itoa(n) {
			return
		}
		if os.Getenv(update) == "" {
			t.Errorf("%s says %s inputs were tried on %q: it is %d. Run this test with %s=1", path, strings.TrimSpace(cells[2]), surface, n, update)
			return
		}
		cells[2] = fmt.Sprintf(" %d ", n)
		lines[i] = strings.Join(cells, "|")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s has no row for %q", path, surface)
}

// document finds the file from wherever in the project a test runs.
func document() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "docs", "security.md"), nil
		}
	}
	return "", fmt.Errorf("no go.mod above the working directory: %w", os.ErrNotExist)
}
