package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// room is one package.
type room struct {
	path      string // of its directory
	lines     int
	functions []function // the longest first
	kinds     []kind     // those with the most methods first
}

// function is a function or method with a body.
type function struct {
	name  string // package.Type.Name
	lines int    // from func to the closing brace
}

// kind is a type that has methods.
type kind struct {
	name    string // package.Type
	methods int
}

// survey reads all packages below a directory, the largest first.
func survey(root string) ([]room, error) {
	files := make(map[string][]string) // by directory
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name := d.Name(); path != root && (name == "testdata" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files[filepath.Dir(path)] = append(files[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []room
	for _, dir := range slices.Sorted(maps.Keys(files)) {
		r, err := readRoom(dir, files[dir])
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b room) int { return cmp.Compare(b.lines, a.lines) })
	return all, nil
}

// readRoom reads the files of a package.
func readRoom(dir string, files []string) (room, error) {
	r := room{path: filepath.ToSlash(dir)}
	methods := make(map[string]int)
	set := token.NewFileSet()
	for _, path := range files {
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return r, err
		}
		r.lines += set.File(f.FileStart).LineCount()
		for _, d := range f.Decls {
			d, ok := d.(*ast.FuncDecl)
			if !ok || d.Body == nil {
				continue
			}
			name := f.Name.Name + "."
			if d.Recv != nil {
				name += receiver(d.Recv.List[0].Type)
				methods[name]++
				name += "."
			}
			lines := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1
			r.functions = append(r.functions, function{name + d.Name.Name, lines})
		}
	}
	for name, n := range methods {
		r.kinds = append(r.kinds, kind{name, n})
	}
	slices.SortFunc(r.functions, func(a, b function) int { return cmp.Or(cmp.Compare(b.lines, a.lines), cmp.Compare(a.name, b.name)) })
	slices.SortFunc(r.kinds, func(a, b kind) int { return cmp.Or(cmp.Compare(b.methods, a.methods), cmp.Compare(a.name, b.name)) })
	return r, nil
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
