// Package content says what each page of a lab guest holds, as a function of numbers that never change: so a guest can
// check every page of its memory at any time, on any host, without keeping a second copy of it.
//
// A page is Words words of 8 bytes. Every function either writes the words of a page or compares a page with them; both
// walk the same generator. They are kept to a few operations per word, because guests run on an emulated processor.
package content

// Words is the length of a page in 8-byte words; Bytes its length in bytes.
const (
	Words = 512
	Bytes = Words * 8
)

// Page is one page of guest memory.
type Page = [Words]uint64

// Kind names what a page is for. Together with an id and a number it determines the bytes.
type Kind uint8

// The kinds of pages.
const (
	Common    Kind = iota // the same in all guests: an operating system's files, about 2:1 compressible
	Duplicate             // few different ones, repeated within the guest
	Own                   // in no other guest, incompressible
	Zero                  // touched, and zero
	Hot                   // rewritten for ever, incompressible, different in every generation
	Repeated              // all pages of all guests are the same one
	Similar               // each is one page that all guests know, but for 8 bytes that no other page has
	Text                  // in no other guest, about 2:1 compressible
	Stamped               // as Own, but for one word that is different in every generation: quick to rewrite
)

// String returns the name used in the guest's messages.
func (k Kind) String() string {
	return [...]string{"common", "duplicate", "own", "zero", "hot", "repeated", "similar", "text", "stamped"}[k]
}

// Name identifies the content of one page.
type Name struct {
	Kind       Kind
	Guest      uint64 // which guest; ignored for Common
	Number     uint64 // index of the page among those of its kind
	Generation uint64 // how often a Hot or Stamped page has been rewritten
}

// Distinct is the number of different Duplicate pages in one guest.
const Distinct = 32

// seed returns where the generator starts for n.
func (n Name) seed() uint64 {
	guest, number := n.Guest, n.Number
	switch n.Kind {
	case Common:
		guest = 0
	case Repeated:
		guest, number = 0, 0
	case Duplicate:
		number %= Distinct
	}
	generation := n.Generation
	if n.Kind == Stamped {
		generation = 0
	}
	x := mix(uint64(n.Kind)<<56 ^ guest<<40 ^ generation)
	return mix(x ^ number)
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// step is the distance between two states of the generator, word turns a state into a random word.
const step = 0x9e3779b97f4a7c15

func word(x uint64) uint64 { return (x ^ x>>32) * 0xd6e8feb86659fd93 }

// stamp is the word of a Stamped page that tells its generation, and where it is.
func (n Name) stamp() (at int, w uint64) { return int(n.Number % Words), mix(n.seed() + n.Generation) }

// Stamp makes a Stamped page of any generation the one that n names.
func Stamp(p *Page, n Name) {
	at, w := n.stamp()
	p[at] = w
}

// Fill writes the page that n names.
func Fill(p *Page, n Name) {
	switch n.Kind {
	case Zero:
		clear(p[:])
	case Common, Text:
		fillFile(p, n.seed())
	case Similar:
		fillSimilar(p, n.seed())
	default:
		x := n.seed()
		for i := range p {
			x += step
			p[i] = word(x)
		}
		if n.Kind == Stamped {
			Stamp(p, n)
		}
	}
}

// Check returns the index of the first word of p that differs from the page that n names, or -1. The page scratch is
// overwritten.
func Check(p *Page, n Name, scratch *Page) int {
	switch n.Kind {
	case Zero:
		return checkZero(p)
	case Common, Text:
		fillFile(scratch, n.seed())
		return differ(p, scratch)
	case Similar:
		fillSimilar(scratch, n.seed())
		return differ(p, scratch)
	}
	at, stamp := -1, uint64(0)
	if n.Kind == Stamped {
		at, stamp = n.stamp()
	}
	x := n.seed()
	for i := range p {
		x += step
		want := word(x)
		if i == at {
			want = stamp
		}
		if p[i] != want {
			return i
		}
	}
	return -1
}

func checkZero(p *Page) int {
	for i, w := range p {
		if w != 0 {
			return i
		}
	}
	return -1
}

func differ(a, b *Page) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// fillFile writes a page that compresses about as well as a page of an operating system's files: runs of new words alternate
// with runs copied from further up in the page, and new words use 7 of the 8 bits of each byte.
func fillFile(p *Page, x uint64) {
	const bits = 0x7f7f7f7f7f7f7f7f
	i := 0
	for i < Words {
		x += step
		r := word(x)
		for end := min(i+1+int(r>>32&7), Words); i < end; i++ {
			x += step
			p[i] = word(x) & bits
		}
		from := int((r >> 40) % uint64(i))
		for end := min(i+1+int(r>>36&7), Words); i < end; i++ {
			p[i] = p[from]
			from++
		}
	}
}

// fillSimilar writes the page that all Similar ones are like, and then the word in which this one differs.
func fillSimilar(p *Page, x uint64) {
	fillFile(p, Name{Kind: Similar}.seed())
	p[x%Words] = word(x + step)
}
