package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
)

// TestRaceDetector: the fast half of the tests, as make runs it, is made with the race detector.
func TestRaceDetector(t *testing.T) {
	if os.Getenv("MAKELEVEL") == "" || !testing.Short() {
		return // by hand, or by another target
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Errorf("make check tests without -race: %v", info)
	}
}

// TestSurvey counts lines, functions and methods of a package, and leaves out tests and testdata.
func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"a/a.go":          "package a\n\ntype T[X any] struct{}\n\nfunc (t *T[X]) one() {\n}\n\nfunc (t T[X]) two() {\n\t_ = t\n}\n",
		"a/b.go":          "package a\n\nfunc three() {\n\t_ = 1\n\t_ = 2\n}\n\nfunc asm()\n",
		"a/a_test.go":     "package a\n\nfunc four() {}\n",
		"a/testdata/c.go": "package c\n",
		".hidden/d.go":    "package d\n",
		"e/e.go":          "package main\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := survey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || filepath.Base(all[0].path) != "a" || filepath.Base(all[1].path) != "e" {
		t.Fatalf("packages: %+v", all)
	}
	if want := []function{{"a.three", 4}, {"a.T.two", 3}, {"a.T.one", 2}}; !slices.Equal(all[0].functions, want) {
		t.Errorf("functions %v, want %v", all[0].functions, want)
	}
	if want := []kind{{"a.T", 2}}; !slices.Equal(all[0].kinds, want) {
		t.Errorf("types %v, want %v", all[0].kinds, want)
	}
	if all[0].lines != 10+8 {
		t.Errorf("%d lines, want 18", all[0].lines)
	}
}
