// Package problem makes placement problems: fleets whose memory is made up like that of fleets that were measured, and
// shapes whose best placement is known.
package problem

import (
	"fmt"
	"slices"
)

// Profile says what the memory of a kind of fleet is made of, in fractions of RAM. What is left is unique.
type Profile struct {
	Name  string
	Title string

	Zero     float64 // pages of zeros
	Intra    float64 // copies of other pages of the same VM
	System   float64 // common to VMs of one family, that is, of one operating system image
	App      float64 // common to VMs that run the same application on it
	Anywhere float64 // common to VMs of any kind
	Delta    float64 // pages that differ little from another

	scale    float64 // of the members' sizes within a family: up to so many times the smallest
	perImage int     // VMs to a family, unless families are given
}

// Profiles are the kinds of fleets, as the literature on memory sharing reports them: Difference Engine, Memory Buddies,
// Satori and Barker's study of real machines, and the testbeds of gang migration.
var Profiles = []Profile{
	{Name: "A", Title: "clones, virtual desktops", Zero: 0.40, Intra: 0.05, System: 0.30, Delta: 0.10, scale: 1, perImage: 12},
	{Name: "B", Title: "same system and application", Zero: 0.60, Intra: 0.03, System: 0.24, Delta: 0.013, scale: 1, perImage: 12},
	{Name: "B busy", Title: "same system and application", Zero: 0.20, Intra: 0.03, System: 0.48, Delta: 0.029, scale: 1, perImage: 12},
	{Name: "C", Title: "same system, different applications", Zero: 0.35, Intra: 0.05, System: 0.15, App: 0.08, Delta: 0.15, scale: 2, perImage: 24},
	{Name: "D", Title: "tenants", Zero: 0.20, Intra: 0.10, System: 0.01, Anywhere: 0.005, Delta: 0.10, scale: 2, perImage: 8},
	{Name: "E", Title: "mixed systems", Zero: 0.38, System: 0.10, Anywhere: 0.03, Delta: 0.3675, scale: 2, perImage: 20},
}

// Shared is the part of the memory that several VMs have in common.
func (p *Profile) Shared() float64 { return p.System + p.App + p.Anywhere }

// named returns the profile of a name.
func named(name string) (Profile, error) {
	i := slices.IndexFunc(Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, fmt.Errorf("profile %q: must be A, B, C, D or E", name)
	}
	return Profiles[i], nil
}

// Fractions are what the VMs' memory is made of in fact.
type Fractions struct {
	Zero, Intra, Shared, Delta, Unique float64
}

func (f Fractions) String() string {
	return fmt.Sprintf("zero %.1f %%, copies within a VM %.1f %%, shared between VMs %.1f %%, close to another page %.1f %%, unique %.1f %%",
		100*f.Zero, 100*f.Intra, 100*f.Shared, 100*f.Delta, 100*f.Unique)
}
