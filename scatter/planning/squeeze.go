package planning

// Compressibility is what compression would do to the contents, by samples.
type Compressibility struct{ Small, Quick Squeeze }

// Squeeze is the same of one kind of compression.
type Squeeze struct {
	Parts [][]float64 // by class: bytes after and before, at places that are spread evenly over it; nil = like mean
	Mean  float64
	Speed float64 // bytes/s of one core; 0 = it is not used
}

// Incompressible is what is known when nothing is compressed.
var Incompressible = Compressibility{Squeeze{Mean: 1}, Squeeze{Mean: 1}}

// of is the part that remains of block i of n of a class.
func (c *Squeeze) of(class, i, n int) float64 {
	if class >= len(c.Parts) || len(c.Parts[class]) == 0 {
		return c.Mean
	}
	parts := c.Parts[class]
	return parts[i*len(parts)/n]
}
