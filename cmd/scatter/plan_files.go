package main

import (
	"errors"
	"io"

	"github.com/scatter-vm/scatter/scatter"
)

// planFiles are the files that a plan goes to.
type planFiles struct {
	save, problem, html *outFile
	anonymise           bool
}

func (o *planOptions) open() (*planFiles, error) {
	f := &planFiles{anonymise: o.anonymise}
	var errs [3]error
	f.save, errs[0] = newOutFile("save", o.save)
	f.problem, errs[1] = newOutFile("save-problem", o.saveProblem)
	f.html, errs[2] = newOutFile("html", o.html)
	for _, err := range errs {
		if err != nil {
			f.discard()
			return nil, err
		}
	}
	return f, nil
}

func (f *planFiles) discard() {
	for _, file := range []*outFile{f.save, f.problem, f.html} {
		if file != nil {
			file.discard()
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
		errs[0] = f.save.writeJSON(p)
	}
	if problem := p.Problem; problem != nil {
		if f.anonymise {
			problem = scatter.Anonymise(problem)
		}
		errs[1] = f.problem.writeJSON(problem)
	}
	errs[2] = f.html.write(func(w io.Writer) error { return writePlanPage(w, p) })
	return errors.Join(errs[:]...)
}
