package disk

import (
	"sort"

	"github.com/scatter-vm/scatter/dedup"
)

// Piece is a run of a disk's pages that are scanned. Holes are not: an index of a disk that is large and mostly empty would be large, too.
type Piece struct {
	First, Pages uint32
	At           dedup.Page // number of the first in the layout; the others follow
}

// Pieces are those of one disk, ascending.
type Pieces []Piece

// Find is the number of a page in the layout, which has not all of them.
func (p Pieces) Find(page uint32) (at dedup.Page, ok bool) {
	i := sort.Search(len(p), func(i int) bool { return p[i].First+(p[i].Pages-1) >= page })
	if i == len(p) || page < p[i].First {
		return 0, false
	}
	return p[i].At + dedup.Page(page-p[i].First), true
}

// pieceAlign is what pieces begin and end at a multiple of, in pages: 16 MiB, for disks whose files are written here and there.
const pieceAlign = 4096

// Cut finds what of a disk is no hole now, in whole pieces. They are numbered by the caller.
func (d *Images) Cut(region int) (all Pieces, err error) {
	size := d.all[region].Pages()
	err = d.Populated(region, func(first, n uint32) error {
		from := first / pieceAlign * pieceAlign
		to := size
		if end := uint64(first+n-1)/pieceAlign*pieceAlign + pieceAlign; end < uint64(size) {
			to = uint32(end)
		}
		if last := len(all) - 1; last >= 0 && from <= all[last].First+all[last].Pages {
			all[last].Pages = max(to, all[last].First+all[last].Pages) - all[last].First
			return nil
		}
		all = append(all, Piece{First: from, Pages: to - from})
		return nil
	})
	return all, err
}
