package flagfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter"
)

func TestReportFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create("report", path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the old report is gone before the new one is there: %q", b)
	}
	if err := f.WriteJSON(kit.Report()); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got scatter.Report
	if err := json.Unmarshal(b, &got); err != nil || got.SourceBytes != 3600<<20 {
		t.Errorf("%v %+v", err, got)
	}
	onlyFile(t, dir, "report.json")
}

func TestDiscardedReportLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := Create("report", filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	f.Discard()
	onlyFile(t, dir)
	if f, err = Create("report", ""); err != nil || f.WriteJSON(kit.Report()) != nil {
		t.Error("a report that nobody wants is an error")
	}
}

func onlyFile(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) || len(want) == 1 && entries[0].Name() != want[0] {
		t.Errorf("files %v, %v; want %v", entries, err, want)
	}
}
