// Plot draws how a lane followed its service, from the CSV that the scenarios with nginx
// write, or how speed and cost grow, from that of the bench's curves, as an SVG. It is a module of its own, so that whoever uses weir
// does not depend on what draws.
//
//	go run . flow <flow.csv >flow.svg
//	go run . scale <scale.csv >scale.svg
package main

import (
	"encoding/csv"
	"fmt"
	"image/color"
	"io"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// columns of the CSV: when, and what is drawn over it.
var columns = []string{"seconds", "capacity", "limit", "in flight", "possible/s", "answered/s", "latency ms"}

// panels are drawn one below the other, each of some columns.
var panels = []struct {
	label  string
	curves []int
}{
	{"in flight", []int{1, 2, 3}},
	{"answers a second", []int{4, 5}},
	{"latency, ms", []int{6}},
}

// grey is what the service can do, the others what is done.
var colors = map[int]color.Color{
	1: color.Gray{Y: 150}, 2: color.RGBA{B: 200, A: 255}, 3: color.RGBA{R: 220, G: 110, A: 255},
	4: color.Gray{Y: 150}, 5: color.RGBA{G: 130, A: 255},
	6: color.RGBA{R: 160, B: 160, A: 255},
}

func main() {
	drawings := map[string]func(io.Reader, io.Writer) error{"flow": drawFlow, "scale": drawScale}
	if len(os.Args) != 2 || drawings[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: plot flow|scale <CSV >SVG")
		os.Exit(2)
	}
	if err := drawings[os.Args[1]](os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func drawFlow(in io.Reader, out io.Writer) error {
	all, err := read(in)
	if err != nil {
		return err
	}
	rows := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		drawn, err := panel(p.label, p.curves, all)
		if err != nil {
			return err
		}
		rows[i] = []*plot.Plot{drawn}
	}
	rows[len(rows)-1][0].X.Label.Text = "seconds"
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadY: 3 * vg.Millimeter, PadTop: 3 * vg.Millimeter, PadRight: 3 * vg.Millimeter}
	return write(out, rows, tiles, 18*vg.Centimeter, 16*vg.Centimeter)
}

// write draws plots as tiles.
func write(out io.Writer, rows [][]*plot.Plot, tiles draw.Tiles, width, height vg.Length) error {
	canvas := vgsvg.New(width, height)
	for i, row := range plot.Align(rows, tiles, draw.New(canvas)) {
		for j, tile := range row {
			rows[i][j].Draw(tile)
		}
	}
	_, err := canvas.WriteTo(out)
	return err
}

// read returns the rows below the header.
func read(in io.Reader) ([][]float64, error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord = len(columns)
	lines, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(lines) < 3 {
		return nil, fmt.Errorf("%d lines: nothing to draw", len(lines))
	}
	var all [][]float64
	for i, line := range lines[1:] {
		row := make([]float64, len(line))
		for j, field := range line {
			if row[j], err = strconv.ParseFloat(field, 64); err != nil {
				return nil, fmt.Errorf("line %d, %s: %w", i+2, columns[j], err)
			}
		}
		all = append(all, row)
	}
	return all, nil
}

func panel(label string, curves []int, all [][]float64) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = label
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for _, column := range curves {
		points := make(plotter.XYs, len(all))
		for i, row := range all {
			points[i] = plotter.XY{X: row[0], Y: row[column]}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", columns[column], err)
		}
		line.Color = colors[column]
		p.Add(line)
		p.Legend.Add(columns[column], line)
	}
	p.Y.Min, p.Y.Max = 0, 1.3*p.Y.Max // room for the legend
	return p, nil
}
