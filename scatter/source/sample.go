package source

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// SampleBlocks is how many blocks are compressed to find out what compression is going to gain: 16 MiB, some 50 ms on two cores.
const SampleBlocks = 64

// sampleOwners is how many owners of a content a sample names at most: all of them make no block.
const sampleOwners = block.MaxOwners / planning.BlockContents

// newSqueeze has room for samples at these places of so many classes.
func newSqueeze(classes int, places []SampleAt) planning.Squeeze {
	c := planning.Squeeze{Parts: make([][]float64, classes), Mean: 1}
	for _, at := range places {
		c.Parts[at.Class] = append(c.Parts[at.Class], 1)
	}
	return c
}

// SampleAt is a place where a sample is taken.
type SampleAt struct {
	Class, Number int
	Part          float64 // of the class's contents that lie before it
}

// Sampling says where to take samples: where most bytes are, spread over each class.
func Sampling(classes []planning.ClassInfo) (places []SampleAt) {
	order := make([]int, len(classes))
	var all int64
	for i := range classes {
		order[i] = i
		all += classes[i].Bytes
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(classes[b].Bytes, classes[a].Bytes) })
	for _, class := range order {
		left := SampleBlocks - len(places)
		if left == 0 || all == 0 {
			return places
		}
		blocks := planning.BlocksOf(classes[class].Contents)
		n := min(left, blocks, int(SampleBlocks*classes[class].Bytes/all)+1)
		for i := range n {
			places = append(places, SampleAt{class, i, (float64(i) + 0.5) / float64(n)})
		}
	}
	return places
}

// Sample compresses some blocks in the ways that bulk would.
func (e *Scanned) Sample() (planning.Compressibility, error) {
	if e.Cfg.NoCompress {
		return planning.Incompressible, nil
	}
	places := Sampling(e.Classes)
	c := planning.Compressibility{Small: newSqueeze(len(e.Classes), places), Quick: newSqueeze(len(e.Classes), places)}
	work := make(chan SampleAt, len(places))
	for _, at := range places {
		work <- at
	}
	close(work)
	samplers := make([]sampler, e.Cfg.processors())
	var wg sync.WaitGroup
	for i := range samplers {
		wg.Go(func() {
			system.StandBehindGuests()
			samplers[i].run(e, work, &c)
		})
	}
	wg.Wait()
	var small, quick yield
	for i := range samplers {
		if err := samplers[i].err; err != nil {
			return c, err
		}
		small.add(samplers[i].small)
		quick.add(samplers[i].quick)
	}
	small.sum(&c.Small)
	quick.sum(&c.Quick)
	return c, nil
}

// yield is what came of compression.
type yield struct {
	before, after int
	took          time.Duration
}

func (y *yield) add(z yield) {
	y.before, y.after, y.took = y.before+z.before, y.after+z.after, y.took+z.took
}

// sum sets the means.
func (y *yield) sum(c *planning.Squeeze) {
	if y.before > 0 {
		c.Mean = float64(y.after) / float64(y.before)
		c.Speed = float64(y.before) / max(y.took.Seconds(), 1e-6)
	}
}

// sampler is one worker.
type sampler struct {
	small, quick yield
	err          error

	contents []block.Content
	data, to []byte
}

// run takes samples. Each writes to a place of its own in c.
func (s *sampler) run(e *Scanned, work <-chan SampleAt, c *planning.Compressibility) {
	enc, err := block.NewEncoder()
	if err != nil {
		s.err = err
		return
	}
	s.data = make([]byte, planning.BlockContents*model.PageSize)
	for at := range work {
		n := s.read(e, at)
		if n == 0 {
			continue // the class ended, or its VM did
		}
		if c.Small.Parts[at.Class][at.Number], s.err = s.compress(enc, n, block.Zstd, &s.small); s.err != nil {
			return
		}
		if c.Quick.Parts[at.Class][at.Number], s.err = s.compress(enc, n, block.S2, &s.quick); s.err != nil {
			return
		}
	}
}

// compress returns the part that remains of n contents.
func (s *sampler) compress(enc *block.Encoder, n int, how block.Compression, y *yield) (part float64, err error) {
	began := time.Now()
	if s.to, err = enc.Append(s.to[:0], s.contents[:n], how); err != nil {
		return 1, err
	}
	y.add(yield{n * model.PageSize, len(s.to), time.Since(began)})
	return float64(len(s.to)) / float64(n*model.PageSize), nil
}

// read reads a block's contents as they are now, and returns how many there are.
func (s *sampler) read(e *Scanned, at SampleAt) (n int) {
	s.contents = s.contents[:0]
	for owners := range e.Index.ContentsFrom(at.Class, at.Part) {
		region, page := e.Layout.Locate(owners[0])
		r := e.Regions[region]
		data := s.data[n*model.PageSize : (n+1)*model.PageSize]
		if e.VMs[r.VM].Mem.GatherTo([]qemu.PageRef{r.Ref(page)}, []uint32{0}, data) != nil {
			return 0
		}
		s.contents = append(s.contents, block.Content{Owners: e.Owners(nil, owners[:min(len(owners), sampleOwners)]), Data: data})
		if n++; n == planning.BlockContents {
			break
		}
	}
	return n
}
