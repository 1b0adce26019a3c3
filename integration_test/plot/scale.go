package main

import (
	"encoding/csv"
	"fmt"
	"image/color"
	"io"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// scaleColumns of the CSV that the bench's curves write, and those of them that are drawn.
var (
	scaleColumns = []string{"over", "x", "tasks/s", "us/task"}
	scaleDrawn   = []struct {
		column int
		label  string
		color  color.Color
	}{
		{2, "tasks/s", color.RGBA{G: 130, A: 255}},
		{3, "CPU, us a task", color.RGBA{R: 160, B: 160, A: 255}},
	}
)

// drawScale draws a row for each thing that the curves are over: rate, and cost.
func drawScale(in io.Reader, out io.Writer) error {
	r := csv.NewReader(in)
	r.FieldsPerRecord = len(scaleColumns)
	lines, err := r.ReadAll()
	if err != nil {
		return err
	}
	var over []string
	points := make(map[string][][]string)
	for i, line := range lines {
		if i == 0 {
			continue
		}
		if _, known := points[line[0]]; !known {
			over = append(over, line[0])
		}
		points[line[0]] = append(points[line[0]], line)
	}
	var rows [][]*plot.Plot
	for _, name := range over {
		var row []*plot.Plot
		for _, d := range scaleDrawn {
			p, err := scalePanel(points[name], d.column, d.color)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, d.label, err)
			}
			p.X.Label.Text, p.Y.Label.Text = name, d.label
			row = append(row, p)
		}
		rows = append(rows, row)
	}
	tiles := draw.Tiles{Rows: len(rows), Cols: len(scaleDrawn), PadX: 5 * vg.Millimeter, PadY: 5 * vg.Millimeter, PadTop: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 5 * vg.Millimeter}
	return write(out, rows, tiles, 18*vg.Centimeter, vg.Length(len(rows))*5*vg.Centimeter)
}

func scalePanel(lines [][]string, column int, c color.Color) (*plot.Plot, error) {
	points := make(plotter.XYs, len(lines))
	ticks := make(plot.ConstantTicks, len(lines))
	for i, line := range lines {
		x, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			return nil, err
		}
		y, err := strconv.ParseFloat(line[column], 64)
		if err != nil {
			return nil, err
		}
		points[i], ticks[i] = plotter.XY{X: x, Y: y}, plot.Tick{Value: x, Label: line[1]}
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, err
	}
	line.Color, dots.Color = c, c
	p := plot.New()
	p.Add(plotter.NewGrid(), line, dots)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks
	p.Y.Min, p.Y.Max = 0, 1.2*p.Y.Max
	p.Y.Tick.Marker = plot.TickerFunc(wholeTicks)
	return p, nil
}

// wholeTicks are labelled by whole numbers.
func wholeTicks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'f', 0, 64)
		}
	}
	return ticks
}
