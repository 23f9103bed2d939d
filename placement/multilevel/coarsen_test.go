package multilevel

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

func TestContractionKeepsCosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := kit.DrawState(t)
		rng := rand.New(rand.NewPCG(1, 1))
		cluster := coarsen(s.In, rng, nil, 0.5, nil)
		if cluster == nil {
			t.Fatal("nothing to unite")
		}
		coarse := assign.New(s.In.Contracted(cluster))
		for k := range coarse.At {
			coarse.Move(int32(k), rng.IntN(coarse.N))
		}
		fine := assign.New(s.In)
		fine.Adopt((&Level{cluster: cluster}).Project(coarse.At))
		for h := range fine.N {
			if fine.Used(h) != coarse.Used(h) || fine.Loads[h].Bytes != coarse.Loads[h].Bytes || fine.Loads[h].VMs != coarse.Loads[h].VMs {
				t.Fatalf("host %d: %+v, coarse %+v", h, fine.Loads[h], coarse.Loads[h])
			}
		}
	})
}
