package carry

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/source"
)

// TestSampling: no more samples than agreed, most where most bytes are, spread over each class.
func TestSampling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var classes []planning.ClassInfo
		for range rapid.IntRange(0, 100).Draw(t, "classes") {
			classes = append(classes, enginekit.VmsOf(rapid.SampledFrom([]int{0, 1, 62, 63, 10_000, 1_000_000}).Draw(t, "contents"), 0))
		}
		places := source.Sampling(classes)
		if len(places) > source.SampleBlocks {
			t.Fatalf("%d samples", len(places))
		}
		of := make(map[int][]source.SampleAt)
		for _, at := range places {
			of[at.Class] = append(of[at.Class], at)
		}
		for class, list := range of {
			if blocks := planning.BlocksOf(classes[class].Contents); len(list) > blocks {
				t.Fatalf("%d samples of %d blocks", len(list), blocks)
			}
			for i, at := range list {
				if at.Number != i || !near(at.Part, (float64(i)+0.5)/float64(len(list))) {
					t.Fatalf("samples %+v", list)
				}
			}
			for other := range classes {
				if classes[other].Bytes > classes[class].Bytes && len(of[other]) == 0 {
					t.Fatalf("class of %d bytes is sampled, that of %d is not", classes[class].Bytes, classes[other].Bytes)
				}
			}
		}
	})
}

// TestSample: pages of which half is zeros compress to half, and nothing is said where nothing is to be compressed.
func TestSample(t *testing.T) {
	d := openDrill(t, []int{0, 0, 1}, nil)
	c, err := d.e.Sample()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]planning.Squeeze{"small": c.Small, "quick": c.Quick} {
		if c.Mean < 0.48 || c.Mean > 0.55 || c.Speed <= 0 {
			t.Errorf("%s: %.3f remains, at %.0f bytes/s", name, c.Mean, c.Speed)
		}
		for class, parts := range c.Parts {
			for i, p := range parts {
				if p < 0.48 || p > 0.6 {
					t.Errorf("%s: class %v: %.3f of sample %d remains", name, d.e.Classes[class].VMs, p, i)
				}
			}
		}
	}
	d.e.Cfg.NoCompress = true
	if c, err := d.e.Sample(); err != nil || !reflect.DeepEqual(c, planning.Incompressible) {
		t.Errorf("%+v, %v", c, err)
	}
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-3*math.Abs(want) }
