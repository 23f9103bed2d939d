package planning

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/model"
)

// readSchema reads one of the schemas that users get.
func readSchema(t *testing.T, name string) (*jsonschema.Schema, *jsonschema.Resolved) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	s := new(jsonschema.Schema)
	if err := strictly(b, s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s, r
}

// asJSON is v as a reader of its JSON sees it.
func asJSON(t rapid.TB, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, b)
}

func decoded(t rapid.TB, b []byte) (out any) {
	t.Helper()
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchemaOfWhatIsRead: every problem that is written fits the schema, and so does every plan that comes of it.
func TestSchemaOfWhatIsRead(t *testing.T) {
	_, problems := readSchema(t, "problem.schema.json")
	_, plans := readSchema(t, "plan.schema.json")
	rapid.Check(t, func(t *rapid.T) {
		p := drawnProblem(t)
		if err := problems.Validate(asJSON(t, p)); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "all") {
			p.Partial = false
		}
		plan, err := PlanProblem(t.Context(), p, Network{Rate: 1000})
		if plan == nil {
			t.Fatal(err)
		}
		if err := plans.Validate(asJSON(t, plan)); err != nil {
			t.Fatalf("%v: %s", err, mustJSON(plan))
		}
	})
}

func mustJSON(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

// TestSchemaOfWhatIsRefused: the program and the schema refuse the same.
func TestSchemaOfWhatIsRefused(t *testing.T) {
	_, problems := readSchema(t, "problem.schema.json")
	_, plans := readSchema(t, "plan.schema.json")
	for _, text := range []string{
		`{"vms":[{"name":"a","memory_bytes":1,"colour":"red"}],"hosts":[]}`, `{"vms":[{"name":"","memory_bytes":1}],"hosts":[]}`,
		`{"vms":[{"name":"a","memory_bytes":-1}],"hosts":[]}`, `{"vms":[{"name":"a","memory_bytes":"1"}],"hosts":[]}`,
		`{"vms":[],"hosts":[],"objective":"speed"}`, `{"vms":[],"hosts":[],"capacity":"none"}`, `{"vms":[],"hosts":[],"constraints":[{"kind":"far"}]}`,
		`{"vms":[],"hosts":[],"classes":[{"vms":[-1],"bytes":1}]}`, `{"vms":[],"hosts":[],"budget_ns":-1}`, `{"vms":[],"hosts":[{"name":"h","memory_bytes":1,"link_bps":-1}]}`,
		`{"vms":[],"hosts":[],"more":1}`, `[]`,
	} {
		if problems.Validate(decoded(t, []byte(text))) == nil {
			t.Errorf("the schema takes %s", text)
		}
		p, err := ReadProblem(strings.NewReader(text))
		if err == nil {
			_, err = PlanProblem(t.Context(), *p, Network{})
		}
		if err == nil {
			t.Errorf("the program takes %s", text)
		}
	}
	const least = `{"format":1,"placement":{"a":"b"}}`
	if _, err := ReadPlan(strings.NewReader(least)); err != nil || plans.Validate(decoded(t, []byte(least))) != nil {
		t.Errorf("%s is refused: %v, %v", least, err, plans.Validate(decoded(t, []byte(least))))
	}
	for _, text := range []string{`{"format":2,"placement":{"a":"b"}}`, `{"placement":{"a":"b"}}`, `{"format":1,"placement":{"a":""}}`, `{"format":1,"placement":{"a":"b"},"colour":"red"}`,
		`{"format":1,"placement":{"a":"b"},"groups":[{"hosts":["a"],"ttl":3}]}`} {
		if plans.Validate(decoded(t, []byte(text))) == nil {
			t.Errorf("the schema takes %s", text)
		}
		if _, err := ReadPlan(strings.NewReader(text)); err == nil {
			t.Errorf("the program takes %s", text)
		}
	}
}

// TestSchemaKnowsEveryField: each JSON object of the program has the fields that the schema has, no more and no fewer.
func TestSchemaKnowsEveryField(t *testing.T) {
	problem, _ := readSchema(t, "problem.schema.json")
	plan, _ := readSchema(t, "plan.schema.json")
	planDef := plan.Defs["plan"].Properties
	for _, c := range []struct {
		of     any
		schema *jsonschema.Schema
		beside []string
	}{
		{Problem{}, problem.Defs["problem"], nil},
		{Problem{}.VMs, problem.Defs["vm"], nil},
		{Problem{}.Hosts, problem.Defs["host"], nil},
		{Problem{}.Classes, problem.Defs["class"], nil},
		{Constraint{}, problem.Defs["constraint"], nil},
		{Plan{}, plan.Defs["plan"], []string{"type"}},
		{PlanVM{}, plan.Defs["vm"], nil},
		{PlanHost{}, plan.Defs["host"], nil},
		{PlanGroup{}, plan.Defs["group"], nil},
		{PlanSharing{}, plan.Defs["sharing"], nil},
		{Conflict{}, plan.Defs["conflict"], nil},
		{model.Pages{}, plan.Defs["pages"], nil},
		{PlanLimits{}, planDef["limits"], nil},
		{PlanTraffic{}, planDef["traffic"], nil},
		{PlanClasses{}, planDef["classes"].Items, nil},
		{model.Blocker{}, planDef["blockers"].Items, nil},
	} {
		of := reflect.TypeOf(c.of)
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		want := slices.Sorted(slices.Values(append(jsonFields(of), c.beside...)))
		got := slices.Sorted(maps.Keys(c.schema.Properties))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the program %v", of, got, want)
		}
		for name, p := range c.schema.Properties {
			if p.Description == "" && p.Ref == "" && p.Items == nil && p.Type == "string" {
				t.Errorf("%s: %s is not described", of, name)
			}
		}
	}
}

// jsonFields are the names that a struct's fields have in JSON.
func jsonFields(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			names = append(names, name)
		}
	}
	return names
}
