// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"time"
)

// Layout of the chart, in pixels.
const (
	svgWidth   = 960
	svgLeft    = 64
	svgRight   = 170 // room for the legend
	svgTop     = 40
	svgCDF     = 300 // height of the distributions
	svgRow     = 56  // height of one policy's load
	svgRowGap  = 18
	svgSection = 70 // between distributions and loads
	plotWidth  = svgWidth - svgLeft - svgRight
)

// palette holds a colour for each policy.
var palette = []string{
	"#c2185b", "#1f77b4", "#7f7f7f", "#2ca02c", "#ff7f0e", "#9467bd",
	"#17becf", "#8c564b", "#bcbd22", "#4e79a7", "#111111", "#555555",
}

// WriteSVG draws the distribution of times to first token, on a logarithmic
// axis, and below it the requests in flight over time: the mean of all nodes
// as an area, the busiest node as a line.
func WriteSVG(w io.Writer, results []Result) error {
	b := bufio.NewWriter(w)
	height := svgTop + svgCDF + svgSection + len(results)*(svgRow+svgRowGap) + 20
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", svgWidth, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	drawTTFT(b, results)
	if skipped := skippedRows(results); skipped.Rows > 0 {
		text(b, svgLeft, float64(height-6), "start", skipped.String())
	}
	drawLoads(b, results, svgTop+svgCDF+svgSection)
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}

// timeAxis maps times to first token to x on a logarithmic scale.
type timeAxis struct{ low, high float64 } // powers of ten, of seconds

func newTimeAxis(results []Result) timeAxis {
	low, high := math.Inf(1), math.Inf(-1)
	for i := range results {
		if s := results[i].sorted; len(s) > 0 {
			// The fastest 1 % would take half the axis.
			low = min(low, power(quantile(s, 0.01)))
			high = max(high, power(s[len(s)-1]))
		}
	}
	if low > high {
		return timeAxis{-3, 1}
	}
	return timeAxis{math.Floor(low), max(math.Ceil(high), math.Floor(low)+1)}
}

func power(d time.Duration) float64 { return math.Log10(max(1e-4, d.Seconds())) }

func (a timeAxis) x(d time.Duration) float64 {
	share := (power(d) - a.low) / (a.high - a.low)
	return svgLeft + min(1, max(0, share))*plotWidth
}

func drawTTFT(b *bufio.Writer, results []Result) {
	axis := newTimeAxis(results)
	text(b, svgLeft, svgTop-16, "start", "share of requests with their first token within ... seconds")
	for p := axis.low; p <= axis.high; p++ {
		x := axis.x(time.Duration(math.Pow(10, p) * float64(time.Second)))
		line(b, x, svgTop, x, svgTop+svgCDF)
		text(b, x, svgTop+svgCDF+16, "middle", fmt.Sprintf("%g", math.Pow(10, p)))
	}
	for k := range 5 {
		y := svgTop + svgCDF*(1-float64(k)/4)
		line(b, svgLeft, y, svgLeft+plotWidth, y)
		text(b, svgLeft-6, y+4, "end", fmt.Sprintf("%d %%", 25*k))
	}
	for i := range results {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="%s"%s points="`, palette[i%len(palette)], width(i), dashes(&results[i]))
		for k := range 201 {
			if s := results[i].sorted; len(s) > 0 {
				q := float64(k) / 200
				fmt.Fprintf(b, "%.1f,%.1f ", axis.x(quantile(s, q)), svgTop+svgCDF*(1-q))
			}
		}
		fmt.Fprintln(b, `"/>`)
		y := float64(svgTop + 14 + 20*i)
		fmt.Fprintf(b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="%s" stroke-width="3"%s/>`+"\n",
			svgLeft+plotWidth+16, y, svgLeft+plotWidth+40, y, palette[i%len(palette)], dashes(&results[i]))
		text(b, svgLeft+plotWidth+46, y+4, "start", results[i].Policy)
	}
}

func drawLoads(b *bufio.Writer, results []Result, top float64) {
	text(b, svgLeft, top-16, "start", "requests in flight over time: mean node (area), busiest node (line)")
	for i := range results {
		y := top + float64(i*(svgRow+svgRowGap))
		drawLoad(b, &results[i], y, palette[i%len(palette)])
	}
}

// drawLoad draws one policy's load. Each chart has its own scale.
func drawLoad(b *bufio.Writer, r *Result, top float64, colour string) {
	most, nodes := 1.0, max(1, float64(r.nodes))
	for _, s := range r.load {
		most = max(most, float64(s.busiest))
	}
	x := func(k int) float64 { return svgLeft + plotWidth*float64(k)/float64(max(1, len(r.load)-1)) }
	y := func(v float64) float64 { return top + svgRow*(1-v/most) }
	line(b, svgLeft, top+svgRow, svgLeft+plotWidth, top+svgRow)
	text(b, svgLeft-6, top+8, "end", fmt.Sprintf("%.0f", most))
	text(b, svgLeft-6, top+svgRow+4, "end", "0")
	text(b, svgLeft+plotWidth+16, top+svgRow/2+4, "start", r.Policy)
	if len(r.load) == 0 {
		return
	}
	fmt.Fprintf(b, `<polygon fill="%s" fill-opacity="0.3" points="%.1f,%.1f `, colour, x(0), y(0))
	for k, s := range r.load {
		fmt.Fprintf(b, "%.1f,%.1f ", x(k), y(float64(s.total)/nodes))
	}
	fmt.Fprintf(b, `%.1f,%.1f"/>`+"\n", x(len(r.load)-1), y(0))
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" points="`, colour)
	for k, s := range r.load {
		fmt.Fprintf(b, "%.1f,%.1f ", x(k), y(float64(s.busiest)))
	}
	fmt.Fprintln(b, `"/>`)
}

func width(i int) string {
	if i == 0 {
		return "3"
	}
	return "1.5"
}

func dashes(r *Result) string {
	if r.Bound {
		return ` stroke-dasharray="5 4"`
	}
	return ""
}

func line(b *bufio.Writer, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
}

// text writes a label. It does not escape: labels never hold text of a trace.
func text(b *bufio.Writer, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#333">%s</text>`+"\n", x, y, anchor, s)
}
