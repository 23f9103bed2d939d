package promise

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	if m := Median([]int{5, 1, 9}, func(i int) int { return i }); m != 5 {
		t.Errorf("median %d", m)
	}
}

func TestTable(t *testing.T) {
	tab := &Table{Title: "T", Facts: []string{"fact"}}
	tab.AtMost("low", "%.2f", 1, 1)
	if !tab.Kept() {
		t.Error("a promise that is kept counts as broken")
	}
	tab.AtLeast("high", "%.1f GB/s", 3.9, 4)
	if tab.Kept() {
		t.Error("a broken promise counts as kept")
	}
	if s := tab.Markdown(); !strings.Contains(s, "| high | 3.9 GB/s | >= 4.0 GB/s | NO   |") {
		t.Error(s)
	}
}
