package main

import (
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	// lost is which share of a ratio may be lost before that is a regression.
	lost = 0.15

	// fewest turns are measured; more, up to -turns, where a ratio seems to have been lost.
	fewest = 3
)

// kept is what a ratio was.
type kept struct {
	row, of string
	ratio   float64
}

// readKept reads lines of row, figure, ratio.
func readKept(file string) ([]kept, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := csv.NewReader(f)
	lines.FieldsPerRecord, lines.Comment = 3, '#'
	records, err := lines.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []kept
	for i, record := range records {
		ratio, err := strconv.ParseFloat(record[2], 64)
		if err != nil || ratio <= 0 {
			return nil, fmt.Errorf("%s, entry %d: %q is no ratio", file, i+1, record[2])
		}
		all = append(all, kept{record[0], record[1], ratio})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no ratios", file)
	}
	return all, nil
}

// check measures the rows that file keeps ratios of, and tells of each ratio that is less than
// it was by more than a machine's noise: then the error is not nil.
func (b *bench) check(file string) error {
	all, err := readKept(file)
	if err != nil {
		return err
	}
	var regressions []string
	for len(all) > 0 {
		name := all[0].row
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return fmt.Errorf("%s: there is no row %q", file, name)
		}
		var of []kept
		all = slices.DeleteFunc(all, func(k kept) bool {
			if k.row == name {
				of = append(of, k)
			}
			return k.row == name
		})
		found, err := b.checkRow(rows[i], of)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		regressions = append(regressions, found...)
	}
	if len(regressions) > 0 {
		return fmt.Errorf("slower than it was:\n%s", strings.Join(regressions, "\n"))
	}
	return nil
}

// checkRow measures a row until nothing seems lost, or for all turns.
func (b *bench) checkRow(r row, of []kept) (regressions []string, err error) {
	results, err := r.results(of)
	if err != nil {
		return nil, err
	}
	for turn := 1; turn <= max(b.turns, fewest); turn++ {
		if err := b.turn(r, results); err != nil {
			return nil, err
		}
		if turn < fewest {
			continue
		}
		regressions = nil
		for i, k := range of {
			now := median(results[i].ratios)
			if math.IsInf(now, 0) || math.IsNaN(now) {
				return nil, fmt.Errorf("%s was not measured", k.of)
			}
			if now < (1-lost)*k.ratio {
				regressions = append(regressions, fmt.Sprintf("%s, %s: %.2fx in %d turns, was %.2fx", k.row, k.of, now, turn, k.ratio))
			}
		}
		if len(regressions) == 0 {
			break
		}
	}
	for i := range results {
		b.done = append(b.done, *results[i])
	}
	return regressions, nil
}

// results are for the figures of which a ratio is kept, in their order.
func (r row) results(of []kept) (results []*result, err error) {
	for _, k := range of {
		i := slices.IndexFunc(r.figures, func(f figure) bool { return f.of == k.of })
		if i < 0 || r.raw == nil {
			return nil, fmt.Errorf("has no ratio of %q", k.of)
		}
		results = append(results, &result{row: r, figure: r.figures[i]})
	}
	return results, nil
}
