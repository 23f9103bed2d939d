package main

import (
	"encoding/json"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/render"
	"github.com/scatter-vm/scatter/scatter"
)

// printPlan prints a plan: a JSON object of type plan, or tables.
func (a *app) printPlan(p *scatter.Plan) error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(struct {
			Type string `json:"type"`
			*scatter.Plan
		}{"plan", p})
	}
	return render.Plan(a.stdout, p)
}

// printReport prints a report: a JSON object of type report, or a table and a summary.
func (a *app) printReport(r *scatter.Report) error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(struct {
			Type string `json:"type"`
			*scatter.Report
		}{"report", r})
	}
	return render.Report(a.stdout, r)
}

// printFindings prints a JSON object of type finding, or a line, for each.
func (a *app) printFindings(findings []scatter.Finding) error {
	if !a.json {
		return render.Findings(a.stdout, findings)
	}
	for _, f := range findings {
		if err := json.NewEncoder(a.stdout).Encode(struct {
			Type string `json:"type"`
			scatter.Finding
		}{"finding", f}); err != nil {
			return err
		}
	}
	return nil
}

// printRecovered prints a JSON object of type recovered, or a row of a table, for each VM.
func (a *app) printRecovered(r *scatter.RecoverReport) error {
	if len(r.VMs) == 0 {
		a.say(a.stderr, "no VM on its way: there is nothing to recover")
		return nil
	}
	if a.json {
		for _, vm := range r.VMs {
			if err := json.NewEncoder(a.stdout).Encode(struct {
				Type string `json:"type"`
				scatter.Recovered
			}{"recovered", vm}); err != nil {
				return err
			}
		}
		return nil
	}
	return render.Recovered(a.stdout, r)
}
