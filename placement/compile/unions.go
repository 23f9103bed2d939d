package compile

// unions is a union-find over numbers: each points towards the one that stands for its set.
type unions []int

func newUnions(n int) unions {
	u := make(unions, n)
	for i := range u {
		u[i] = i
	}
	return u
}

// root is the number that stands for v's set.
func (u unions) root(v int) int {
	for u[v] != v {
		u[v] = u[u[v]]
		v = u[v]
	}
	return v
}

// unite makes one set of a's and b's.
func (u unions) unite(a, b int) { u[u.root(a)] = u.root(b) }
