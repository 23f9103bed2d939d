package compat

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/compatibility.md")

const document = "../../docs/compatibility.md"

// The document says what the rows say.
func TestDocument(t *testing.T) {
	if err := validate(Parts()); err != nil {
		t.Fatal(err)
	}
	want := Table(Parts())
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the rows say: go test ./bench/compat -update", document)
	}
}
