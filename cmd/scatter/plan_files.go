package main

import (
	"errors"
	"io"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/render"
	"github.com/scatter-vm/scatter/scatter"
)

// planFiles are the files that a plan goes to.
type planFiles struct {
	save, problem, html *flagfile.Out
	anonymise           bool
}

func (o *planOptions) open() (*planFiles, error) {
	f := &planFiles{anonymise: o.anonymise}
	var errs [3]error
	f.save, errs[0] = flagfile.Create("save", o.save)
	f.problem, errs[1] = flagfile.Create("save-problem", o.saveProblem)
	f.html, errs[2] = flagfile.Create("html", o.html)
	for _, err := range errs {
		if err != nil {
			f.discard()
			return nil, err
		}
	}
	return f, nil
}

func (f *planFiles) discard() {
	for _, file := range []*flagfile.Out{f.save, f.problem, f.html} {
		if file != nil {
			file.Discard()
		}
	}
}

// write writes the files. A plan with blockers is not kept, but what it was to be made from is: that is what a bug report needs.
func (f *planFiles) write(p *scatter.Plan) error {
	if f == nil {
		return nil
	}
	var errs [3]error
	if len(p.Blockers) == 0 {
		errs[0] = f.save.WriteJSON(p)
	}
	if problem := p.Problem; problem != nil {
		if f.anonymise {
			problem = scatter.Anonymise(problem)
		}
		errs[1] = f.problem.WriteJSON(problem)
	}
	errs[2] = f.html.Write(func(w io.Writer) error { return render.Page(w, p) })
	return errors.Join(errs[:]...)
}
