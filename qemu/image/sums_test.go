package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSums: a file is read again only when it has changed, and what is no regular one not at all.
func TestSums(t *testing.T) {
	var s Sums
	path := filepath.Join(t.TempDir(), "base")
	for i, text := range []string{"one", "one", "three"} {
		if i != 1 {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := s.Of(t.Context(), path)
		if want := sha256.Sum256([]byte(text)); err != nil || string(sum) != string(want[:]) {
			t.Errorf("%s: %x, %v", text, sum, err)
		}
	}
	if len(s.known) != 2 {
		t.Errorf("%d were read", len(s.known))
	}
	if _, err := s.Of(t.Context(), path+"2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := s.Of(t.Context(), "/dev/zero"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := os.WriteFile(path, []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Of(ctx, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
